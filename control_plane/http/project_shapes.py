"""Projects as JSON. No key, and nothing made of one."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.execution import ExecutionMode
from control_plane.http.shapes import Count, NodeName, RuntimeName, Shape, Stamp

ProjectName = Annotated[str, Meta(description="Display id of a project")]


class ProjectTold(Shape):
    id: ProjectName
    display_name: str
    disabled: bool
    pins: Annotated[list[str], Meta(description="The names that are pinned")]


class ProjectKeyTold(Shape):
    project: ProjectName
    id: str
    label: str
    expires: Annotated[str, Meta(description="RFC 3339, UTC; empty: it does not")]


class ProjectPin(Shape):
    """What is left out is left open."""

    asked: Annotated[str, Meta(description="As requests say it: a runtime's id or display name, or a model's id")]
    fallback: Annotated[bool, Meta(description="Others may serve while none of `matches` does")]
    matches: Annotated[list[RuntimeName], Meta(description="The declared runtimes that it holds to now")]
    runtime: RuntimeName | None = None
    node: NodeName | None = None
    adapter: str = ""
    accelerator: AcceleratorKind = AcceleratorKind.UNSPECIFIED
    execution_mode: ExecutionMode = ExecutionMode.UNSPECIFIED
    profile: str = ""


class Project(Shape):
    id: ProjectName
    disabled: Annotated[bool, Meta(description="Its keys are refused")]
    live_keys: Annotated[Count, Meta(description="Keys that count now")]
    created: Stamp
    updated: Stamp
    display_name: str = ""
    pins: list[ProjectPin] = field(default_factory=list)


class Projects(Shape):
    """In id order."""

    ticking = frozenset({"updated_at"})

    updated_at: Stamp
    projects: list[Project]
