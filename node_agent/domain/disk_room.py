"""When a disk is too full to take anything new."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from node_agent.domain.limits import Denial
from node_agent.domain.observed import Observed
from node_agent.domain.spec import DesiredState, InstanceName, InstanceSpec
from node_agent.domain.status import Problem

SHARE = 0.05
ENOUGH = 512 << 20
"""Bytes: with so much free nothing is short, however large the disk is; the logs of five launches fit into it."""
OVER = 2
"""Times that much must be free again before it is over, so that one log file does not make it come and go."""
BALLAST = 8 << 20
"""Bytes that are kept back for the agent's own records."""
BALLAST_PART = 16
"""A disk smaller than so many ballasts goes without."""


@dataclass(frozen=True, slots=True)
class Room:
    folder: str
    free_bytes: int
    """For those who are not root."""
    size_bytes: int

    @property
    def least(self) -> int:
        """Less than this is pressure."""
        return min(int(self.size_bytes * SHARE), ENOUGH)


def is_short(room: Room, *, was: bool) -> bool:
    return room.free_bytes < room.least * (OVER if was else 1)


def pressure(room: Room) -> Problem:
    text = (
        f"The disk with {room.folder} is nearly full: {_mib(room.free_bytes)} of {_mib(room.size_bytes)} MiB are free."
        " What runs goes on, and nothing new is started."
    )
    remedy = f"Make room there; from {_mib(room.least * OVER)} MiB on the node takes new runtimes again by itself."
    return Problem("DISK_PRESSURE", text, remedy, {"folder": room.folder})


def beside_ballast(room: Room, *, ballast: bool) -> Room:
    """What is free beside the ballast, lie it there or not: to give it up makes no room for anything else."""
    if ballast or room.size_bytes < BALLAST_PART * BALLAST:
        return room
    return replace(room, free_bytes=max(0, room.free_bytes - BALLAST))


def gives_up_ballast(room: Room) -> bool:
    """Half of the ballast is what some records and a page of the database take."""
    return room.free_bytes < BALLAST // 2


def takes_ballast(room: Room) -> bool:
    """`room`: beside the ballast."""
    return room.size_bytes >= BALLAST_PART * BALLAST and room.free_bytes >= room.least * OVER


def kept_out(
    problem: Problem | None, desired: Iterable[InstanceSpec], observed: Iterable[Observed]
) -> dict[InstanceName, Denial]:
    """Whom a problem of the node keeps from its first launch. What ran here before, or is not ours, goes on as ever."""
    if problem is None:
        return {}
    launched = {instance.name for instance in observed if instance.launched}
    wanted = (spec for spec in desired if spec.desired_state is DesiredState.RUNNING and spec.external is None)
    return {spec.name: Denial(problem) for spec in wanted if spec.name not in launched}


def _mib(size: int) -> int:
    return size >> 20
