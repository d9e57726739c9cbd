"""Projects to what goes out."""

from __future__ import annotations

from control_plane.domain.pin import Pin
from control_plane.http import project_shapes as shapes
from control_plane.http.convert import stamp
from control_plane.use_cases import read_projects


def projects_to_json(of: read_projects.Projects) -> shapes.Projects:
    return shapes.Projects(updated_at=stamp(of.update_time), projects=[_project(view) for view in of.projects])


def _project(view: read_projects.ProjectView) -> shapes.Project:
    project = view.project
    return shapes.Project(
        id=project.id,
        display_name=project.display_name,
        disabled=project.disabled,
        live_keys=view.live_keys,
        created=stamp(project.create_time),
        updated=stamp(project.update_time),
        pins=[_pin(pin, view) for pin in project.pins],
    )


def _pin(pin: Pin, view: read_projects.ProjectView) -> shapes.ProjectPin:
    said = pin.combination
    return shapes.ProjectPin(
        asked=pin.asked,
        fallback=pin.fallback,
        matches=list(view.fitting[pin.asked]),
        runtime=said.runtime,
        node=said.node,
        adapter=said.adapter,
        accelerator=said.accelerator,
        execution_mode=said.execution_mode,
        profile=said.profile,
    )
