"""Whether an engine's successor may be launched beside it, so that no request meets a gap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from node_agent.domain.footprint import Footprint
from node_agent.domain.limits import Limits, memory_needed
from node_agent.domain.spec import ExecutionMode, InstanceSpec

SPARE_BYTES = 256 << 20
"""Left to everything else on the machine, and on a device."""


@dataclass(frozen=True, slots=True)
class Free:
    """As last looked at; None: not known."""

    memory_bytes: int | None = None
    device_bytes: int | None = None
    """The most that one device of the kind in use has; None also when the engine uses no device."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An engine that serves, and the one that is to take its place."""

    old: InstanceSpec
    new: InstanceSpec
    modes: frozenset[ExecutionMode]
    """Those that the two run in."""
    serves: bool
    """The old one does now."""
    on_device: bool
    """The new one is expected to use one."""
    known: Footprint | None = None
    """Measured of what the new one is to be."""


def hindrance(pair: Pair, limits: Limits, others: Sequence[InstanceSpec], free: Free) -> str:
    """Why the old one must be stopped first; empty: there is room for both. `others`: whatever else is to run here."""
    if not pair.serves:
        return "it did not serve"
    if ExecutionMode.CONTAINER in pair.modes:
        return "containers are replaced one after the other"
    if pair.new.process is not None and pair.new.process.port:
        return f"both would need port {pair.new.process.port}"
    return _over(pair, limits, others) or _short(pair, free)


def _over(pair: Pair, limits: Limits, others: Sequence[InstanceSpec]) -> str:
    """The owner's limits go by estimates, here as everywhere."""
    both = memory_needed(pair.old) + memory_needed(pair.new)
    if limits.memory_per_runtime_bytes is not None and both > limits.memory_per_runtime_bytes:
        return "both together need more memory than this node's owner gives a runtime"
    taken = sum(memory_needed(other) for other in others)
    if limits.memory_bytes is not None and taken + both > limits.memory_bytes:
        return "both together need more memory than this node's owner gives all runtimes"
    return ""


def _short(pair: Pair, free: Free) -> str:
    estimate = memory_needed(pair.new)
    memory = pair.known.memory_bytes if pair.known else estimate
    device = pair.known.device_memory_bytes if pair.known else None
    if free.memory_bytes is None:
        return "the free memory of this node is not known"
    if memory + SPARE_BYTES > free.memory_bytes:
        return f"both need more memory than is free: {memory >> 20} of {free.memory_bytes >> 20} MiB"
    if not pair.on_device:
        return ""
    if free.device_bytes is None:
        return "the free memory of its device is not known"
    needed = estimate if device is None else device
    if needed + SPARE_BYTES > free.device_bytes:
        return f"both need more of the device's memory than is free: {needed >> 20} of {free.device_bytes >> 20} MiB"
    return ""
