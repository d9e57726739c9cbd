"""Whether the memory of devices comes back once an engine that held it is gone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from node_agent.domain.inventory import Accelerator, AcceleratorUsage, NodeUsage
from node_agent.domain.status import Problem

LEAKING = "ACCELERATOR_LEAKING"
SMALLEST_BYTES = 256 << 20
"""Less than this may be contexts and caches that a driver keeps."""


@dataclass(frozen=True, slots=True)
class Grip:
    """What one engine held of one device."""

    pids: frozenset[int]
    held_bytes: int
    unaccounted_bytes: int
    """In use, beyond what the driver could put down to a process."""


def grips(usage: NodeUsage | None, belongs: Callable[[int], bool]) -> dict[str, Grip]:
    """By device; only of devices that say what is in use and by whom."""
    found: dict[str, Grip] = {}
    for device in usage.accelerators if usage else ():
        pids = frozenset(process.pid for process in device.processes if belongs(process.pid))
        held = sum(process.memory_bytes or 0 for process in device.processes if process.pid in pids)
        unaccounted = _unaccounted(device, ())
        if held >= SMALLEST_BYTES and unaccounted is not None:
            found[device.id] = Grip(pids, held, unaccounted)
    return found


def kept(grip: Grip, usage: NodeUsage | None, device: str) -> int | None:
    """Bytes of the grip that did not come back yet; None: the device does not say.

    What others took or gave back meanwhile is put down to them.
    """
    now = next((each for each in usage.accelerators if each.id == device), None) if usage else None
    unaccounted = _unaccounted(now, grip.pids) if now is not None else None
    if unaccounted is None:
        return None
    return max(0, min(grip.held_bytes, unaccounted - grip.unaccounted_bytes))


def returned(grip: Grip, kept_bytes: int) -> bool:
    return kept_bytes < max(SMALLEST_BYTES, grip.held_bytes // 2)


def _unaccounted(device: AcceleratorUsage, gone: Collection[int]) -> int | None:
    if device.memory_used_bytes is None:
        return None
    return device.memory_used_bytes - sum(
        process.memory_bytes or 0 for process in device.processes if process.pid not in gone
    )


def leak(kept_bytes: int, instance: str) -> Problem:
    text = f"{kept_bytes >> 20} MiB of an engine that ended were not given back: of {instance}."
    remedy = "End what still holds the device, or reset it; it is used again once the memory is back."
    return Problem(LEAKING, text, remedy, {"instance": instance, "kept_bytes": str(kept_bytes)})


def survivor(instance: str) -> Problem:
    text = f"An engine that survives SIGKILL holds it: {instance}."
    remedy = "Look at the kernel log; a reset of the device or a reboot of the node may be needed."
    return Problem(LEAKING, text, remedy, {"instance": instance})


def leaking(device: Accelerator) -> bool:
    return device.problem is not None and device.problem.reason == LEAKING


Leaks = Mapping[str, Problem]
"""By device."""
