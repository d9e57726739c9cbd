"""Puts the supervisor's parts together, for the agent and for the commands that work without one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from node_agent.domain.inventory import Accelerator, NodeUsage
from node_agent.domain.limits import Limits
from node_agent.domain.status import Problem
from node_agent.domain.timers import Timers
from node_agent.runtimes.attachable import Attachable
from node_agent.runtimes.containers.service import Containers
from node_agent.runtimes.equipment import Equipment, no_devices
from node_agent.runtimes.kinds.adapter import Adapter
from node_agent.runtimes.kinds.registry import known_adapters
from node_agent.runtimes.logs import EngineLogs
from node_agent.runtimes.supervisor import LocalSupervisor
from node_agent.runtimes.survivors import Survivors
from node_agent.runtimes.trust import TrustList
from node_agent.runtimes.unlearnt import NoDeviceMemory, NoDeviceTroubles, NoFootprints
from node_agent.use_cases.ports import DeviceMemory, DeviceTroubles, Digests, Footprints


def adapters() -> dict[str, Adapter]:
    return known_adapters()


def instances_directory(state_dir: Path) -> Path:
    return state_dir / "instances"


def trust_list(state_dir: Path, digests: Digests) -> TrustList:
    return TrustList(state_dir / "engines.json", digests)


def attachable(state_dir: Path) -> Attachable:
    return Attachable(state_dir / "attachable.json")


def supervisor(
    state_dir: Path,
    digests: Digests,
    timers: Timers,
    kinds: Mapping[str, Adapter],
    *,
    limits: Callable[[], Limits] = Limits,
    devices: Callable[[], Awaitable[Sequence[Accelerator]]] = no_devices,
    device_memory: DeviceMemory | None = None,
    device_troubles: DeviceTroubles | None = None,
    footprints: Footprints | None = None,
    hands_off: Callable[[], bool] = lambda: False,
    closed: Callable[[], Problem | None] = lambda: None,
    silence: Callable[[], timedelta | None] = lambda: None,
    containers: Containers | None = None,
    survivors: Survivors | None = None,
    usage: Callable[[], NodeUsage | None] = lambda: None,
    free_memory: Callable[[], int | None] = lambda: None,
) -> LocalSupervisor:
    """`state_dir` is the node agent's own: it holds engines.json and instances/."""
    equipment = Equipment(
        kinds,
        trust_list(state_dir, digests),
        attachable(state_dir),
        digests,
        timers,
        limits=limits,
        devices=devices,
        device_memory=device_memory or NoDeviceMemory(),
        device_troubles=device_troubles or NoDeviceTroubles(),
        footprints=footprints or NoFootprints(),
        hands_off=hands_off,
        closed=closed,
        silence=silence,
        containers=containers or Containers(),
        survivors=survivors or Survivors(timers.unkillable_alarm),
        usage=usage,
        free_memory=free_memory,
    )
    return LocalSupervisor(instances_directory(state_dir), equipment)


def engine_logs(state_dir: Path) -> EngineLogs:
    return EngineLogs(instances_directory(state_dir))
