"""Models x hardware x sandboxes: how every combination that is in use does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.health import Grade
from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.instance import Severity
from control_plane.domain.view import RuntimeView


class Sandbox(StrEnum):
    """How engines are held."""

    ATTACHED = "attached"
    CONTAINER = "container"
    NATIVE = "native"
    NONE = "none"
    UNKNOWN = "unknown"

    @property
    def label(self) -> str:
        return _LABELS[self]


_LABELS = {
    Sandbox.ATTACHED: "Not started here",
    Sandbox.CONTAINER: "Container",
    Sandbox.NATIVE: "Native sandbox",
    Sandbox.NONE: "No sandbox",
    Sandbox.UNKNOWN: "Not known",
}


@dataclass(frozen=True, slots=True)
class RuntimeTraffic:
    """Requests of one instance within a window."""

    hits: int
    errors: int
    """Of the node: the connection broke, or no engine answered."""
    engine_errors: int
    """That it answered itself, whole."""
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Key:
    """One cell; in the order in which cells stand."""

    model: ModelId
    node: NodeId
    accelerator: AcceleratorKind
    sandbox: Sandbox


@dataclass(frozen=True, slots=True)
class Placed:
    """A runtime on its node, with what went through it."""

    node: NodeId
    view: RuntimeView
    traffic: RuntimeTraffic


@dataclass(frozen=True, slots=True)
class Figures:
    """What some runtimes give together."""

    runtimes: int
    inflight_requests: int | None
    """None: no engine says."""
    slots: int | None
    hits: int
    errors: int
    engine_errors: int
    prompt_tokens: int
    completion_tokens: int
    served_tokens_per_second: float
    """Over the window."""
    generated_tokens_per_second: float | None
    """For one request alone, as it was learnt: the mean of those of which it is known."""
    prompt_tokens_per_second: float | None


@dataclass(frozen=True, slots=True)
class Cell:
    key: Key
    layers: tuple[str, ...]
    """In force for all of its runtimes."""
    runtimes: tuple[RuntimeId, ...]
    states: Mapping[str, int]
    grade: Grade
    """Of the worst, as the severity and the label."""
    severity: Severity
    label: str
    figures: Figures

    @property
    def aria_hint(self) -> str:
        key, told = self.key, self.figures
        load = f", {told.inflight_requests or 0} of {told.slots} slots busy" if told.slots else ""
        return f"{key.model or 'No model'} on {key.node}, {key.sandbox.label}: {self.label}, grade {self.grade}{load}"


@dataclass(frozen=True, slots=True)
class Grid:
    cells: tuple[Cell, ...]
    by_accelerator: Mapping[str, Figures]
    """By label, such as "GPU (CUDA)"."""
    window: timedelta
    """Of what is counted; never since start."""
    ttl_seconds: int
    update_time: datetime
