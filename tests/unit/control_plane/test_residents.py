"""Who leaves memory for whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.claims.hold import Hold, Holds
from control_plane.domain.ids import ClaimId
from control_plane.domain.instance import InstanceState, ProcessIdentity
from control_plane.domain.placing.making_room import Objects, Refused, Waits, Wakes, judged
from control_plane.domain.placing.residents import Resident, asked_for, unloads_at
from control_plane.domain.problem import Problem
from control_plane.domain.residence import Residence, Sleep, SleepCause
from control_plane.domain.runtime import DesiredState, Runtime
from tests.fakes.clock import NOON
from tests.fakes.control_plane import a_runtime, a_spec, an_instance

STAY = timedelta(seconds=10)
ON_CALL = Residence(on_demand=True)
FULL = Problem("MEMORY_INSUFFICIENT", "It is full.")
UNCLAIMED = Holds()
CLAIMED = Holds(live=(Hold(ClaimId("c"), 2, 1),))
PROCESS = ProcessIdentity("boot", 1, 1)


def ago(seconds: float) -> datetime:
    return NOON - timedelta(seconds=seconds)


def a_resident(
    name: str,
    idle: float | None = 60,
    residence: Residence = ON_CALL,
    *,
    loaded: float = 600,
    desired: DesiredState = DesiredState.RUNNING,
    holds: Holds = UNCLAIMED,
) -> Resident:
    since = None if idle is None else ago(idle)
    instance = an_instance(name, idle_since=since, ready_time=ago(loaded), process=PROCESS)
    spec = a_spec(residence=residence)
    return Resident(a_runtime(name, "n1", spec, desired_state=desired, holds=holds), instance)


def at_most(most: int) -> Objects:
    """The sleeper and so many others fit."""

    def objects(others: Iterable[Runtime]) -> Problem | None:
        return FULL if len(list(others)) > most else None

    return objects


def leaving(there: Sequence[Resident], room: int = 0) -> tuple[str, ...]:
    verdict = judged(at_most(room), there, NOON, STAY)
    assert isinstance(verdict, Waits)
    return verdict.leaving


def test_what_fits_wakes_and_nobody_leaves() -> None:
    assert judged(at_most(1), [a_resident("a")], NOON, STAY) == Wakes()


def test_the_longest_idle_leaves_and_no_more_than_are_needed() -> None:
    there = [a_resident("a", 20), a_resident("b", 60), a_resident("c", 40)]
    assert leaving(there, room=2) == ("b",)
    assert leaving(there, room=1) == ("b", "c")


def test_who_is_pinned_or_not_on_demand_never_leaves_and_who_is_busy_or_claimed_is_waited_for() -> None:
    pinned = a_resident("pinned", residence=Residence(on_demand=True, keep_loaded=True))
    for never in (pinned, a_resident("plain", residence=Residence())):
        assert judged(at_most(0), [never], NOON, STAY) == Refused(FULL)
    for later in (a_resident("busy", None), a_resident("claimed", holds=CLAIMED)):
        assert judged(at_most(0), [later], NOON, STAY) == Waits(FULL)


def test_what_was_just_loaded_stays_for_a_while() -> None:
    young = a_resident("young", 4, loaded=5)
    assert judged(at_most(0), [young], NOON, STAY) == Waits(FULL, until=NOON + timedelta(seconds=5))


def test_a_node_whose_clock_is_ahead_keeps_what_it_has_no_longer_than_it_was_idle() -> None:
    assert leaving([a_resident("a", 10, loaded=-3600)]) == ("a",)


def test_the_memory_of_what_leaves_already_is_waited_for_and_nobody_else_leaves() -> None:
    there = [a_resident("gone", None, desired=DesiredState.HIBERNATED), a_resident("idle")]
    assert judged(at_most(1), there, NOON, STAY) == Waits(FULL, soon=True)


@pytest.mark.parametrize("state", [InstanceState.HIBERNATED, InstanceState.OFFLINE, InstanceState.ERROR])
def test_what_is_down_and_has_no_process_takes_nothing(state: InstanceState) -> None:
    runtime = a_runtime("down", "n1", desired_state=DesiredState.HIBERNATED)
    assert not Resident(runtime, an_instance("down", state=state)).leaves
    assert judged(at_most(0), [Resident(runtime, an_instance("down", state=state))], NOON, STAY) == Wakes()


def test_what_is_idle_for_long_enough_is_unloaded_but_not_under_a_claim() -> None:
    residence = Residence(on_demand=True, idle_unload=timedelta(minutes=1))
    assert unloads_at(a_resident("a", 20, residence)) == NOON + timedelta(seconds=40)
    assert unloads_at(a_resident("a", None, residence)) is None
    assert unloads_at(a_resident("a", 20)) is None
    assert unloads_at(a_resident("a", 20, residence, holds=CLAIMED)) is None


def test_what_is_asked_for_twice_waits_since_the_first_time() -> None:
    sleeper = a_runtime(desired_state=DesiredState.HIBERNATED, sleep=Sleep(ago(9), SleepCause.IDLE, problem=FULL))
    once = asked_for(sleeper, NOON)
    assert once.sleep == Sleep(ago(9), SleepCause.IDLE, wake=NOON)
    assert asked_for(once, NOON + STAY) == once
    assert asked_for(a_runtime(), NOON) == a_runtime()


RESIDENTS = st.lists(
    st.builds(
        lambda number, idle, on_demand, kept, loaded, claimed: a_resident(
            f"r{number}",
            idle,
            Residence(on_demand=on_demand, keep_loaded=kept and on_demand),
            loaded=loaded,
            holds=CLAIMED if claimed else UNCLAIMED,
        ),
        st.integers(0, 99),
        st.one_of(st.none(), st.integers(0, 100)),
        st.booleans(),
        st.booleans(),
        st.integers(0, 100),
        st.booleans(),
    ),
    max_size=6,
    unique_by=lambda each: each.runtime.id,
)


@given(RESIDENTS, st.integers(0, 6))
def test_only_the_idle_leave_as_few_as_are_needed_and_then_it_fits(there: list[Resident], room: int) -> None:
    verdict = judged(at_most(room), there, NOON, STAY)
    if not isinstance(verdict, Waits):
        may = sum(each.may_leave for each in there)
        assert (verdict == Wakes()) == (len(there) <= room)
        assert isinstance(verdict, Wakes) or len(there) - may > room
        return
    by_id = {each.runtime.id: each for each in there}
    for name in verdict.leaving:
        assert by_id[name].may_leave
        assert by_id[name].idle_since is not None
    if verdict.leaving:
        assert len(there) - len(verdict.leaving) == room
