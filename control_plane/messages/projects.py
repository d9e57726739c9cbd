from __future__ import annotations

from datetime import UTC, date, datetime, time

from arw.v1 import project_pb2 as pb
from control_plane.domain.errors import InvalidArgument, InvalidId
from control_plane.domain.ids import KeyId, NodeId, ProjectId, RuntimeId, checked, parsed, resource_name
from control_plane.domain.pin import Combination, Pin
from control_plane.messages.accelerators import kind_from_proto, kind_to_proto
from control_plane.messages.execution import mode_from_proto, mode_to_proto
from control_plane.messages.times import time_to_proto
from control_plane.use_cases.read_projects import KeyView, ProjectView


def project_id(name: str) -> ProjectId:
    return ProjectId(parsed(name, "projects", "project"))


def key_ids(name: str) -> tuple[ProjectId, KeyId]:
    """Project and key of "projects/{project}/keys/{key}"; InvalidId otherwise."""
    project, between, key = name.rpartition("/keys/")
    if not between or not project.startswith("projects/"):
        raise InvalidId(f"{name[:160]!r} is no key name.", "Keys are named projects/{project}/keys/{key}.")
    return project_id(project), KeyId(checked(key, "key"))


def project_to_proto(view: ProjectView) -> pb.Project:
    project = view.project
    return pb.Project(
        name=resource_name("projects", project.id),
        id=project.id,
        uid=project.uid,
        etag=project.etag,
        display_name=project.display_name,
        disabled=project.disabled,
        pins=[_pin_to_proto(pin, view) for pin in project.pins],
        live_keys=view.live_keys,
        create_time=time_to_proto(project.create_time),
        update_time=time_to_proto(project.update_time),
    )


def key_to_proto(view: KeyView) -> pb.ProjectKey:
    key = view.key
    return pb.ProjectKey(
        name=f"{resource_name('projects', key.project)}/keys/{key.id}",
        id=key.id,
        label=key.label,
        create_time=time_to_proto(key.create_time),
        expire_time=time_to_proto(key.expire_time),
        revoke_time=time_to_proto(key.revoke_time),
        last_use_day=time_to_proto(_midnight(view.last_use)),
    )


def pin_from_proto(message: pb.ProjectPin) -> Pin:
    """InvalidArgument, InvalidId."""
    return Pin(message.asked, _combination_from_proto(message.combination), message.fallback)


def _pin_to_proto(pin: Pin, view: ProjectView) -> pb.ProjectPin:
    return pb.ProjectPin(
        asked=pin.asked,
        combination=_combination_to_proto(pin.combination),
        fallback=pin.fallback,
        matches=[resource_name("runtimes", runtime) for runtime in view.fitting[pin.asked]],
    )


def _combination_to_proto(combination: Combination) -> pb.Combination:
    return pb.Combination(
        runtime=resource_name("runtimes", combination.runtime) if combination.runtime else "",
        adapter=combination.adapter,
        node=resource_name("nodes", combination.node) if combination.node else "",
        accelerator=kind_to_proto(combination.accelerator),
        execution_mode=mode_to_proto(combination.execution_mode),
        profile=combination.profile,
    )


def _combination_from_proto(message: pb.Combination) -> Combination:
    combination = Combination(
        RuntimeId(parsed(message.runtime, "runtimes", "runtime")) if message.runtime else None,
        message.adapter,
        NodeId(parsed(message.node, "nodes", "node")) if message.node else None,
        kind_from_proto(message.accelerator),
        mode_from_proto(message.execution_mode),
        message.profile,
    )
    # A value of a newer client must not become another one, or hold to less.
    told = (message.accelerator, message.execution_mode)
    if told != (kind_to_proto(combination.accelerator), mode_to_proto(combination.execution_mode)):
        raise InvalidArgument("The pin says something that is not known here.", "Update the control plane.")
    return combination


def _midnight(day: date | None) -> datetime | None:
    return datetime.combine(day, time(), UTC) if day is not None else None
