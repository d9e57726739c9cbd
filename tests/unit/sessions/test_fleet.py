from __future__ import annotations

from datetime import timedelta

import pytest

from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.instance import Instance, InstanceState
from control_plane.domain.node import HeldRemoval
from control_plane.domain.problem import Problem
from control_plane.sessions.fleet import FleetRules, FleetState
from tests.fakes.clock import FakeClock

N1, N2 = NodeId("n1"), NodeId("n2")
R = RuntimeId("r")
READY = Instance(N1, R, InstanceState.READY)


class Fleet:
    """A fleet whose loop is on time."""

    def __init__(self, nodes: int = 1) -> None:
        self.clock = FakeClock()
        self.state = FleetState(self.clock, FleetRules(), chance=lambda: 0.5)
        for number in range(1, nodes + 1):
            self.state.connected(NodeId(f"n{number}"), 1, 0)
        self.go(16)
        self.state.turns()

    def go(self, seconds: int, *alive: NodeId) -> None:
        for _ in range(seconds):
            self.clock.advance(timedelta(seconds=1))
            for node in alive or tuple(self.state.online()):
                self.state.heard(node, 1)
            self.state.sweep()

    def silence(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(timedelta(seconds=1))
            self.state.sweep()

    def offline(self) -> list[NodeId]:
        return [turn.node for turn in self.state.turns() if not turn.online]


def test_a_node_is_offline_ten_seconds_after_its_stream_broke() -> None:
    fleet = Fleet()
    fleet.state.disconnected(N1, 1, for_good=False)
    fleet.silence(9)
    assert fleet.state.liveness(N1).online
    fleet.silence(1)
    assert not fleet.state.liveness(N1).online
    assert fleet.offline() == [N1]


def test_a_stream_that_resumes_in_time_changes_nothing() -> None:
    fleet = Fleet()
    fleet.state.disconnected(N1, 1, for_good=False)
    fleet.silence(5)
    fleet.state.connected(N1, 2, 0)
    fleet.silence(10)
    assert fleet.state.liveness(N1).online
    assert fleet.state.turns() == ()


def test_a_node_without_heartbeats_is_offline_after_three_periods() -> None:
    fleet = Fleet()
    fleet.silence(29)
    assert fleet.state.liveness(N1).online
    fleet.silence(1)
    assert not fleet.state.liveness(N1).online
    fleet.state.heard(N1, 1)
    assert fleet.state.liveness(N1).online


def test_a_node_that_says_goodbye_for_good_is_offline_at_once() -> None:
    fleet = Fleet()
    fleet.state.disconnected(N1, 1, for_good=True)
    assert fleet.offline() == [N1]


def test_an_old_session_says_nothing_about_the_node() -> None:
    fleet = Fleet()
    fleet.state.connected(N1, 2, 0)
    fleet.state.disconnected(N1, 1, for_good=True)
    fleet.state.heard(N1, 1, applied_revision=99)
    assert fleet.state.liveness(N1).online
    assert fleet.state.liveness(N1).applied_revision == 0


def test_nobody_is_counted_offline_just_after_a_start() -> None:
    clock = FakeClock()
    state = FleetState(clock, FleetRules())
    state.connected(N1, 1, 0)
    state.disconnected(N1, 1, for_good=False)
    for _ in range(14):
        clock.advance(timedelta(seconds=1))
        state.sweep()
    assert state.liveness(N1).online
    clock.advance(timedelta(seconds=1))
    state.sweep()
    assert not state.liveness(N1).online


def test_a_control_plane_that_slept_blames_nobody() -> None:
    fleet = Fleet()
    fleet.clock.advance(timedelta(minutes=5))
    fleet.state.sweep()
    assert fleet.state.liveness(N1).online
    fleet.silence(31)
    assert not fleet.state.liveness(N1).online


def test_agents_that_left_a_sleeping_control_plane_have_as_long_to_return_as_after_a_start() -> None:
    fleet = Fleet()
    fleet.clock.advance(timedelta(minutes=5))
    fleet.state.sweep()
    fleet.state.disconnected(N1, 1, for_good=False)
    fleet.silence(14)
    assert fleet.state.liveness(N1).online
    fleet.silence(1)
    assert not fleet.state.liveness(N1).online


def test_who_falls_silent_after_the_clock_was_set_back_is_found() -> None:
    fleet = Fleet(nodes=2)
    fleet.clock.advance(timedelta(hours=-1))
    fleet.go(31, N2)
    assert fleet.offline() == [N1]


def test_who_comes_and_breaks_off_between_two_looks_at_everybody_is_found_in_time() -> None:
    fleet = Fleet()
    fleet.go(3)
    fleet.state.connected(N2, 1, 0)
    fleet.go(2, N1, N2)
    fleet.state.disconnected(N2, 1, for_good=False)
    fleet.go(9, N1)
    assert fleet.offline() == []
    fleet.go(1, N1)
    assert fleet.offline() == [N2]


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_clock_that_is_set_ends_no_lease(jump: timedelta) -> None:
    fleet = Fleet()
    fleet.clock.advance(jump)
    fleet.silence(20)
    assert fleet.state.liveness(N1).online
    fleet.silence(15)
    assert not fleet.state.liveness(N1).online


def test_who_is_heard_as_soon_as_the_clock_was_set_back_is_not_silent() -> None:
    fleet = Fleet()
    fleet.silence(5)
    fleet.clock.advance(timedelta(hours=-1))
    fleet.state.heard(N1, 1)
    fleet.silence(20)
    assert fleet.state.liveness(N1).online
    fleet.silence(15)
    assert not fleet.state.liveness(N1).online


def test_on_an_offline_node_nothing_is_known_to_run() -> None:
    fleet = Fleet()
    fleet.state.record(READY)
    fleet.state.disconnected(N1, 1, for_good=True)
    seen = fleet.state.instance(N1, R)
    assert seen is not None
    assert seen.state is InstanceState.UNKNOWN
    assert fleet.state.instances(N2) == []


def test_listeners_hear_of_changes_only_and_of_nodes_that_come_and_go() -> None:
    fleet = Fleet()
    heard: list[tuple[NodeId, RuntimeId]] = []
    stop = fleet.state.on_instance(lambda node, runtime: heard.append((node, runtime)))
    fleet.state.record(READY)
    fleet.state.record(READY)
    assert len(heard) == 1
    fleet.state.disconnected(N1, 1, for_good=True)
    assert len(heard) == 2
    fleet.state.forget(N1, R)
    assert len(heard) == 3
    stop()
    fleet.state.record(READY)
    assert len(heard) == 3


def test_what_is_wrong_with_a_node_outlives_its_stream() -> None:
    fleet = Fleet()
    full = Problem("STORAGE_UNAVAILABLE", "The disk is full.")
    removal = HeldRemoval(R, 3)
    fleet.state.trouble(N1, [full], [removal])
    fleet.state.disconnected(N1, 1, for_good=False)
    fleet.state.connected(N1, 2, 0)
    assert fleet.state.liveness(N1).problems == (full,)
    assert fleet.state.liveness(N1).held == (removal,)
    fleet.state.trouble(N1, [])
    assert fleet.state.liveness(N1).problems == ()


def test_a_node_that_never_came_back_is_offline_once_every_node_had_its_time() -> None:
    clock = FakeClock()
    state = FleetState(clock, FleetRules())
    clock.advance(timedelta(seconds=14))
    assert state.liveness(N2).offline_since is None
    clock.advance(timedelta(seconds=1))
    assert state.liveness(N2).offline_since == clock.now()
    assert not state.liveness(N2).online


@pytest.mark.parametrize(("nodes", "seconds"), [(1, 10), (5000, 10), (10_000, 20)])
def test_the_heartbeat_period_grows_with_the_fleet(nodes: int, seconds: int) -> None:
    state = FleetState(FakeClock(), FleetRules(), chance=lambda: 0.5)
    for number in range(nodes):
        state.connected(NodeId(f"n{number}"), 1, 0)
    assert state.period() == timedelta(seconds=seconds)


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 9), (1.0, 11)])
def test_heartbeats_are_spread_by_a_tenth(chance: float, seconds: int) -> None:
    assert FleetState(FakeClock(), FleetRules(), chance=lambda: chance).period() == timedelta(seconds=seconds)
