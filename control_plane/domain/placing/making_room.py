"""Who leaves memory for whom."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from control_plane.domain.ids import RuntimeId
from control_plane.domain.placing.residents import Resident
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Wakes:
    """There is room."""


@dataclass(frozen=True, slots=True)
class Waits:
    """It may yet have room."""

    problem: Problem
    leaving: tuple[RuntimeId, ...] = ()
    """Who is to be hibernated for it."""
    until: datetime | None = None
    """When time alone may change that."""
    soon: bool = False
    """Whoever has its room is leaving."""


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no room, whoever leaves."""

    problem: Problem


Verdict = Wakes | Waits | Refused
Objects = Callable[[Iterable[Runtime]], Problem | None]
"""What is against the sleeper's waking beside these, all of them running."""


def judged(objects: Objects, there: Sequence[Resident], now: datetime, stay: timedelta) -> Verdict:
    """Whether a sleeper wakes beside those that are `there`, and who leaves for it.

    As few leave as are needed, the longest idle first; never one with a request in hand, nor one that was loaded less
    than `stay` ago.
    """
    running = [each for each in there if each.wanted or each.leaves]
    refusal = objects(each.runtime for each in running)
    if refusal is None:
        return Wakes()
    if objects(each.runtime for each in running if not (each.leaves or each.may_leave)) is not None:
        return Refused(refusal)
    if objects(each.runtime for each in running if not each.leaves) is None:
        return Waits(refusal, soon=True)
    return _with_leavers(objects, running, refusal, now, stay)


def _with_leavers(
    objects: Objects, running: Sequence[Resident], refusal: Problem, now: datetime, stay: timedelta
) -> Verdict:
    ready = {each.runtime.id: _free_at(each, stay) for each in running if each.may_leave}
    free = {name for name, time in ready.items() if time is not None and time <= now}
    chosen = _fewest(objects, running, free)
    if chosen is not None:
        return Waits(refusal, tuple(sorted(chosen)), soon=True)
    return Waits(refusal, until=min((t for t in ready.values() if t is not None and t > now), default=None))


def _free_at(resident: Resident, stay: timedelta) -> datetime | None:
    """When it may leave; None: nobody knows yet. Its node's clock may be ahead: it was idle only once it was loaded."""
    since, loaded = resident.idle_since, resident.instance.ready_time if resident.instance is not None else None
    if since is None:
        return None
    return max(since, min(since, loaded) + stay) if loaded is not None else since


def _fewest(objects: Objects, running: Sequence[Resident], free: Collection[RuntimeId]) -> set[RuntimeId] | None:
    """The longest idle are taken until it fits; then whoever of them need not leave stays, the last used first."""
    idle = sorted((each for each in running if each.runtime.id in free), key=_longest_idle)
    leaving: set[RuntimeId] = set()
    for each in idle:
        leaving.add(each.runtime.id)
        if objects(_rest(running, leaving)) is None:
            break
    else:
        return None
    for each in reversed(idle):
        fewer = leaving - {each.runtime.id}
        if len(fewer) < len(leaving) and objects(_rest(running, fewer)) is None:
            leaving = fewer
    return leaving


def _rest(running: Iterable[Resident], leaving: Collection[RuntimeId]) -> Iterable[Runtime]:
    """Who would still be there once these, and those that leave already, are gone."""
    return (each.runtime for each in running if each.runtime.id not in leaving and not each.leaves)


def _longest_idle(resident: Resident) -> tuple[datetime, RuntimeId]:
    since: datetime | None = resident.idle_since
    assert since is not None  # noqa: S101 - only such are free
    return since, resident.runtime.id
