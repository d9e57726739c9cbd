"""The grid of models, hardware and sandboxes, as JSON."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.grid import Sandbox
from control_plane.domain.health import Grade
from control_plane.domain.instance import Severity
from control_plane.http.shapes import Count, NodeName, RuntimeName, Shape, Stamp

Speed = Annotated[
    float | None, Meta(description="For one request alone, as it was learnt: the mean of those of which it is known")
]


class GridFigures(Shape):
    """What some runtimes give together; requests and tokens within the window, never since start."""

    runtimes: Count
    hits: Count
    errors: Annotated[int, Meta(ge=0, description="Of the node: no whole answer of an engine came through")]
    engine_errors: Annotated[int, Meta(ge=0, description="Answered by engines")]
    prompt_tokens: Count
    completion_tokens: Count
    served_tokens_per_second: Annotated[float, Meta(description="completion_tokens over the window")]
    inflight_requests: Annotated[int, Meta(ge=0)] | None = None
    slots: Annotated[int, Meta(ge=0)] | None = None
    generated_tokens_per_second: Speed = None
    prompt_tokens_per_second: Speed = None


class GridCell(Shape):
    """One combination that is in use."""

    model: Annotated[str, Meta(description="Id; empty: no model file")]
    node: NodeName
    accelerator: AcceleratorKind
    accelerator_label: str
    sandbox: Sandbox
    sandbox_label: str
    sandbox_layers: Annotated[list[str], Meta(description="In force for all of its runtimes")]
    runtimes: list[RuntimeName]
    states: dict[str, Count]
    health_grade: Annotated[Grade, Meta(description="Of the worst, as severity and label")]
    severity: Severity
    severity_label: str
    label: str
    aria_hint: Annotated[str, Meta(description="The same for a screen reader")]
    figures: GridFigures


class RuntimeGrid(Shape):
    """How each model does on each accelerator of each node in each kind of sandbox."""

    ticking = frozenset({"updated"})

    cells: Annotated[list[GridCell], Meta(description="In the order of model, node, accelerator, sandbox")]
    by_accelerator: Annotated[dict[str, GridFigures], Meta(description="By label, such as GPU (CUDA)")]
    window_seconds: Count
    ttl_seconds: Annotated[int, Meta(ge=0, description="Older than this it says nothing any more")]
    updated: Stamp
