"""What launches really took, as nodes measured it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
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
    return max((median_high(each.memory_bytes for each in some) for some in _counting(told, keys, node)), default=None)


def measured_on_device(told: Footprints, keys: Iterable[FootprintKey], node: NodeId) -> int | None:
    """The same of the memory of devices; None: nobody told of any."""
    known = ([each.device_memory_bytes for each in some] for some in _counting(told, keys, node))
    sizes = ([size for size in some if size is not None] for some in known)
    return max((median_high(some) for some in sizes if some), default=None)


def _counting(told: Footprints, keys: Iterable[FootprintKey], node: NodeId) -> Iterator[Collection[Footprint]]:
    for key in keys:
        if by_node := told.get(key):
            yield [by_node[node]] if node in by_node else by_node.values()


def options_of(settings: EngineSettings) -> str:
    return options_digest({name: getattr(settings, name) for name in EngineSettings.__slots__})
