from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from control_plane.domain.ids import NodeId, ReplicaId, RuntimeId
from control_plane.domain.instance import InstanceState
from control_plane.domain.matrix import HttpFigures
from control_plane.domain.problem import Problem
from control_plane.domain.replica import Place
from control_plane.replicas.circle import Circle, Pace
from control_plane.replicas.telling import Telling
from control_plane.replicas.traffic import SharedTraffic
from control_plane.sessions.fleet import FleetRules, FleetState
from tests.fakes.board import Wall
from tests.fakes.clock import FakeClock
from tests.fakes.control_plane import an_instance

N1, N2 = NodeId("n1"), NodeId("n2")
R = RuntimeId("r")
READY, STARTING, UNKNOWN = InstanceState.READY, InstanceState.STARTING, InstanceState.UNKNOWN
WINDOW = timedelta(minutes=5)


@dataclass(slots=True)
class Streams:
    """What a replica asked of its agents' streams."""

    said: list[str] = field(default_factory=list)

    def replicas_changed(self) -> None:
        self.said.append("replicas changed")

    def overtaken(self, node: NodeId, epoch: int, process_id: str) -> None:
        self.said.append(f"{node} went to session {epoch} of {process_id}")

    def errand(self, content: bytes) -> None:
        self.said.append(f"errand {content.decode()}")

    def step_aside(self) -> None:
        self.said.append("aside")

    def come_back(self) -> None:
        self.said.append("back")


@dataclass(slots=True)
class Meter:
    figures: dict[NodeId, HttpFigures] = field(default_factory=dict)

    def measured(self) -> Mapping[NodeId, HttpFigures]:
        return self.figures

    def window(self, node: NodeId) -> HttpFigures:
        return self.figures.get(node, HttpFigures(WINDOW, 0, 0))


class Site:
    """One replica, whose beats a test makes."""

    def __init__(self, wall: Wall, name: str, clock: FakeClock, pace: Pace | None = None) -> None:
        self.name = name
        self.board = wall.board(name)
        self.fleet = FleetState(clock, FleetRules(amnesty=timedelta()), chance=lambda: 0.5)
        self.meter = Meter()
        self.traffic = SharedTraffic(self.meter)
        self.streams = Streams()
        telling = Telling(self.fleet, self.meter)
        self.place = Place(grpc_address=f"{name}:7443")
        self.circle = Circle(
            *(self.board, self.fleet, self.traffic, telling),
            place=lambda: self.place,
            pace=pace or Pace(cut_off=timedelta()),
        )
        self.circle.serve(self.streams)

    async def beat(self) -> None:
        await self.circle.beat()

    def state(self, node: NodeId = N1) -> InstanceState | None:
        instance = self.fleet.instance(node, R)
        return instance.state if instance is not None else None


class Sites:
    """Replicas a, b, … of one control plane."""

    def __init__(self, number: int = 2) -> None:
        self.wall, self.clock = Wall(), FakeClock()
        self.all = [Site(self.wall, name, self.clock) for name in "abc"[:number]]

    async def beat(self, times: int = 2) -> None:
        for _ in range(times):
            for site in self.all:
                await site.beat()

    def kill(self, site: Site) -> None:
        self.wall.kill(site.name)
        self.all.remove(site)


async def test_what_a_node_reports_to_one_replica_is_known_to_the_others() -> None:
    sites = Sites(3)
    a, b, c = sites.all
    await sites.beat()
    a.fleet.connected(N1, 1, 7, serial="s1", process_id="p1")
    a.fleet.record(an_instance("r", "n1", READY))
    await sites.beat()
    for other in (b, c):
        assert other.state() is READY
        assert other.fleet.liveness(N1).online
        assert other.fleet.liveness(N1).applied_revision == 7
        assert (other.fleet.replica_of(N1), other.fleet.serial_of(N1)) == (ReplicaId("a"), "s1")
    assert a.fleet.replica_of(N1) is None


async def test_a_replica_that_comes_later_learns_everything() -> None:
    sites = Sites(2)
    a, _ = sites.all
    a.fleet.connected(N1, 1, 0)
    a.fleet.record(an_instance("r", "n1", READY))
    await sites.beat()
    late = Site(sites.wall, "z", sites.clock)
    sites.all.append(late)
    await sites.beat()
    assert late.state() is READY


async def test_a_change_and_an_end_reach_the_others() -> None:
    sites = Sites(2)
    a, b = sites.all
    await sites.beat()
    a.fleet.connected(N1, 1, 0)
    a.fleet.record(an_instance("r", "n1", STARTING))
    await sites.beat()
    a.fleet.record(an_instance("r", "n1", READY))
    a.fleet.trouble(N1, [Problem("DISK_PRESSURE", "full", "make room")])
    await sites.beat()
    assert b.state() is READY
    assert [problem.reason for problem in b.fleet.liveness(N1).problems] == ["DISK_PRESSURE"]
    a.fleet.forget(N1, R)
    await sites.beat()
    assert b.state() is None


async def test_alone_it_posts_nothing() -> None:
    sites = Sites(1)
    (a,) = sites.all
    a.fleet.connected(N1, 1, 0)
    await sites.beat()
    assert sites.wall.notes == {}


async def test_a_node_that_moves_is_known_by_its_newer_session() -> None:
    sites = Sites(3)
    a, b, c = sites.all
    await sites.beat()
    a.fleet.connected(N1, 1, 0)
    a.fleet.record(an_instance("r", "n1", STARTING))
    await sites.beat()
    b.fleet.connected(N1, 2, 0, process_id="p2")
    b.fleet.record(an_instance("r", "n1", READY))
    await sites.beat(3)
    assert a.streams.said[-1] == "n1 went to session 2 of p2"
    assert [site.state() for site in (a, b, c)] == [READY] * 3
    assert a.fleet.replica_of(N1) == c.fleet.replica_of(N1) == ReplicaId("b")
    assert b.fleet.replica_of(N1) is None
    of_a = {key: content for (replica, (_, key)), (_, content) in sites.wall.notes.items() if replica == "a"}
    assert set(of_a.values()) == {None}, "what the first one told is taken back"


async def test_an_old_session_of_another_replica_takes_nothing_away() -> None:
    sites = Sites(2)
    a, b = sites.all
    await sites.beat()
    b.fleet.connected(N1, 2, 0)
    b.fleet.record(an_instance("r", "n1", READY))
    a.fleet.connected(N1, 1, 0)
    a.fleet.record(an_instance("r", "n1", STARTING))
    await sites.beat(3)
    assert b.state() is READY
    assert b.fleet.replica_of(N1) is None
    assert a.state() is READY


async def test_nodes_of_a_replica_that_died_have_time_to_come_back() -> None:
    sites = Sites(2)
    a, b = sites.all
    await sites.beat()
    a.fleet.connected(N1, 1, 0)
    a.fleet.connected(N2, 1, 0)
    for node in ("n1", "n2"):
        a.fleet.record(an_instance("r", node, READY))
    await sites.beat()
    sites.kill(a)
    await sites.beat()
    b.fleet.turns()
    b.fleet.connected(N1, 2, 0)
    b.fleet.record(an_instance("r", "n1", READY))
    for _ in range(9):
        sites.clock.advance(timedelta(seconds=1))
        b.fleet.sweep()
    assert b.fleet.liveness(N2).online
    sites.clock.advance(timedelta(seconds=1))
    b.fleet.sweep()
    assert not b.fleet.liveness(N2).online
    assert (b.state(N1), b.state(N2)) == (READY, UNKNOWN)
    assert [(turn.node, turn.online) for turn in b.fleet.turns()] == [(N2, False)], "the one that leads reports it"


async def test_only_the_one_that_leads_reports_the_nodes_of_the_dead() -> None:
    sites = Sites(3)
    a, b, c = sites.all
    await sites.beat()
    c.fleet.connected(N1, 1, 0)
    await sites.beat()
    sites.kill(c)
    await sites.beat()
    for site in (a, b):
        sites.clock.advance(timedelta(seconds=10))
        site.fleet.sweep()
    assert a.circle.leads
    assert [len(site.fleet.turns()) for site in (a, b)] == [1, 0]


async def test_another_leads_once_the_first_is_gone_and_the_term_rises() -> None:
    sites = Sites(2)
    a, b = sites.all
    told = []
    b.circle.on_lead(lambda: told.append(b.circle.term))
    await sites.beat()
    assert (a.circle.term, b.circle.term) == (1, 0)
    sites.kill(a)
    await sites.beat()
    assert told == [2]


async def test_agents_are_told_where_the_replicas_are_this_one_first() -> None:
    sites = Sites(2)
    a, b = sites.all
    await sites.beat()
    assert [place.grpc_address for place in b.circle.places()] == ["b:7443", "a:7443"]
    assert a.streams.said == ["replicas changed"]
    sites.kill(a)
    await sites.beat()
    assert [place.grpc_address for place in b.circle.places()] == ["b:7443"]


async def test_agents_that_came_before_it_listened_everywhere_are_told_where_once_it_does() -> None:
    site = Sites(1).all[0]
    whole, site.place = site.place, Place()
    await site.beat()
    site.streams.said.clear()
    site.place = whole
    site.circle.settled()
    assert site.streams.said == ["replicas changed"]
    await site.beat()
    assert site.streams.said == ["replicas changed"], "once"


async def test_an_errand_reaches_its_replica_once() -> None:
    sites = Sites(2)
    a, b = sites.all
    await sites.beat()
    b.fleet.connected(N1, 1, 0)
    await sites.beat()
    assert a.circle.send(N1, b"park")
    assert not a.circle.send(N2, b"park")
    assert not b.circle.send(N1, b"park")
    await sites.beat(3)
    assert b.streams.said.count("errand park") == 1


async def test_cut_off_from_the_board_it_steps_aside_while_others_are_known() -> None:
    sites = Sites(2)
    a, b = sites.all
    await sites.beat()
    a.fleet.connected(N1, 1, 0)
    sites.wall.is_away = True
    await sites.beat(3)
    assert a.streams.said.count("aside") == 1
    sites.wall.is_away = False
    await sites.beat()
    assert a.streams.said[-1] == "back"
    assert b.fleet.liveness(N1).online, "what could not be told was told later"


async def test_alone_it_serves_on_without_its_board() -> None:
    sites = Sites(1)
    (a,) = sites.all
    await sites.beat()
    sites.wall.is_away = True
    await sites.beat(3)
    assert "aside" not in a.streams.said


async def test_a_board_that_forgot_is_told_again() -> None:
    sites = Sites(2)
    a, _ = sites.all
    await sites.beat()
    a.fleet.connected(N1, 1, 0)
    a.fleet.record(an_instance("r", "n1", READY))
    await sites.beat()
    sites.wall.crash()
    await sites.beat(3)
    late = Site(sites.wall, "z", sites.clock)
    await late.beat()
    assert late.state() is READY


async def test_what_gateways_measured_is_added_up_while_they_live() -> None:
    sites = Sites(2)
    a, b = sites.all
    await sites.beat()
    a.meter.figures[N1] = HttpFigures(WINDOW, 10, 1, mean_first_byte_ms=10.0)
    b.meter.figures[N1] = HttpFigures(WINDOW, 30, 0, mean_first_byte_ms=20.0)
    await sites.beat()
    assert b.traffic.window(N1) == HttpFigures(WINDOW, 40, 1, mean_first_byte_ms=17.5)
    a.meter.figures.clear()
    await sites.beat()
    assert b.traffic.window(N1) == b.meter.figures[N1]


async def test_a_note_of_a_newer_version_ends_nothing() -> None:
    sites = Sites(2)
    a, b = sites.all
    await sites.beat()
    a.fleet.connected(N1, 1, 0)
    await sites.beat()
    sites.wall.notes[ReplicaId("a"), ("instance", "n1 r")] = (next(sites.wall.numbers), b'{"state": "dreaming"}')
    sites.wall.notes[ReplicaId("a"), ("dream", "x")] = (next(sites.wall.numbers), b"?")
    await sites.beat()
    assert b.state() is None
