"""Which devices an instance runs on, and what it says when one of them is in trouble."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from node_agent.domain.device_memory import leaking
from node_agent.domain.device_throttling import Limit
from node_agent.domain.inventory import CPU, Accelerator, DeviceHealth, NodeUsage
from node_agent.domain.status import Problem

LOST = "ACCELERATOR_LOST"
BROKEN = frozenset(
    {
        LOST,
        "ACCELERATOR_RESET_REQUIRED",
        "ACCELERATOR_UNHEALTHY",
        "ACCELERATOR_DRIVER_UNRESPONSIVE",
        "ACCELERATOR_DRIVER_MISMATCH",
    }
)
"""What befalls a device that worked. One without a driver, or withheld from us, was never there for engines."""
WORDS = {"gpu": "GPU", "npu": "NPU"}
COOL = "Check its cooling and the room's; it says so until it runs as fast as it can again."
FEED = "Check its power supply and cables; it says so until it runs as fast as it can again."
REMEDIES = {Limit.THERMAL: COOL, Limit.POWER: FEED, Limit.SLOWDOWN: f"{COOL} {FEED}"}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Of a device, as an instance on it tells it."""

    label: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """What tells which devices an engine runs on."""

    kind: str
    """Of those that it says it uses; empty: it does not say."""
    visible: frozenset[str] | None
    """Ids of those of this kind that it can see at all; None: all."""
    owns: Callable[[int], bool]
    """Whether a process is the engine's."""


def seen_on(use: DeviceUse, usage: NodeUsage | None) -> frozenset[str]:
    """Devices whose driver lists a process of the engine, however little that holds."""
    found = usage.accelerators if usage else ()
    return frozenset(each.id for each in found if any(use.owns(process.pid) for process in each.processes))


def runs_on(use: DeviceUse, seen: Collection[str], devices: Sequence[Accelerator]) -> frozenset[str]:
    """Empty when it is not known. `seen`: what `seen_on` found last."""
    if use.kind == CPU:
        return frozenset()
    parents = {device.id: device.partition_of for device in devices}
    found = frozenset(seen) or _only_one(use, devices)
    return found | frozenset(parents.get(id_, "") for id_ in found) - {""}


def _only_one(use: DeviceUse, devices: Sequence[Accelerator]) -> frozenset[str]:
    """The one device that it can be; a device in parts is used by them."""
    divided = {device.partition_of for device in devices}
    fitting = frozenset(
        device.id
        for device in devices
        if device.kind == use.kind and not device.simulated and device.id not in divided
        if use.visible is None or device.id in use.visible
    )
    return fitting if len(fitting) == 1 else frozenset()


def broken(device: Accelerator) -> bool:
    """It worked, and nothing can run on it any more."""
    return device.health is DeviceHealth.UNUSABLE and device.problem is not None and device.problem.reason in BROKEN


def kinds_lost(devices: Sequence[Accelerator]) -> dict[str, str]:
    """Kinds of which nothing works any more, with what befell one of them."""
    working = {device.kind for device in devices if not broken(device) and not device.simulated}
    found = {device.kind: device.problem.text for device in devices if device.problem and broken(device)}
    return {kind: text for kind, text in found.items() if kind not in working}


def trouble_of(device: Accelerator, limits: Collection[Limit] = ()) -> Trouble | None:
    """Memory that another engine left behind is no trouble of those that run."""
    name, kind = device.display_name or device.id, WORDS.get(device.kind.split("_")[0], "accelerator")
    problem = device.problem
    if problem is not None and _ails(device) and not leaking(device):
        told = {**problem.metadata, "device": device.id}
        words = Problem(problem.reason, f"{name}: {problem.text}", problem.remedy, told)
        return Trouble(f"Degraded - {kind} {_word(device.health, problem)}", words)
    limit = next((each for each in Limit if each in limits), None)
    if limit is None:
        return None
    text = f"{name} runs slower than it could: {limit.value}."
    told = {"device": device.id, "limit": limit.value}
    return Trouble(f"Degraded - {limit.value}", Problem("ACCELERATOR_UNHEALTHY", text, REMEDIES[limit], told))


def worst(troubles: Iterable[tuple[Accelerator, Trouble | None]]) -> Trouble | None:
    """That of an unusable device, else of an ailing one, else of a slow one."""
    ordered = sorted(troubles, key=lambda each: (each[0].health is not DeviceHealth.UNUSABLE, not _ails(each[0])))
    return next((trouble for _, trouble in ordered if trouble is not None), None)


def _ails(device: Accelerator) -> bool:
    return device.health in (DeviceHealth.UNUSABLE, DeviceHealth.DEGRADED)


def _word(health: DeviceHealth, problem: Problem) -> str:
    if health is DeviceHealth.DEGRADED:
        return "unhealthy"
    return "lost" if problem.reason == LOST else "unusable"
