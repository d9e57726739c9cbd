"""What launches really took, as nodes measured it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from statistics import median_high

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.ids import NodeId
from control_plane.domain.runtime import EngineSettings
from wire.engine_options import options_digest


@dataclass(frozen=True, slots=True)
class FootprintKey:
    """Launches that agree in all of it take as much on every machine."""

    model_sha256: str
    engine_sha256: str
    options: str
    accelerator: AcceleratorKind


@dataclass(frozen=True, slots=True)
class Footprint:
    key: FootprintKey
    memory_bytes: int
    """Peak in the machine's own memory."""
    load_time: timedelta | None = None
    device_memory_bytes: int | None = None
    launches: int = 0
    generated_tokens_per_second: float | None = None
    """For one request that has the engine to itself; None: nobody saw it yet."""
    prompt_tokens_per_second: float | None = None


Footprints = Mapping[FootprintKey, Mapping[NodeId, Footprint]]
"""By the node that told."""


def measured(told: Footprints, keys: Iterable[FootprintKey], node: NodeId) -> int | None:
    """The most of these keys. A node's own word counts; for others the middle of all, so that no single one decides."""
    found = [_memory(by_node, node) for key in keys if (by_node := told.get(key))]
    return max(found, default=None)


def _memory(by_node: Mapping[NodeId, Footprint], node: NodeId) -> int:
    own = by_node.get(node)
    return own.memory_bytes if own is not None else median_high(each.memory_bytes for each in by_node.values())


def options_of(settings: EngineSettings) -> str:
    return options_digest({name: getattr(settings, name) for name in EngineSettings.__slots__})
