"""What placement does when nodes fall silent, come back, or come and go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.node import Liveness, Standing
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.situation import AT_ONCE, Calm, MassSilence, mass_silence, unsteady_until
from control_plane.domain.runtime import Departure, PlacementSettings, Runtime
from control_plane.use_cases.drain_node import DrainNode
from control_plane.use_cases.explain_runtime import ExplainRuntime, Explanation
from control_plane.use_cases.get_cluster import GetCluster
from control_plane.use_cases.place_runtimes import PlaceRuntimes
from control_plane.use_cases.read_nodes import GetNode
from control_plane.use_cases.resume_placement import ResumePlacement
from control_plane.use_cases.rows import save_runtime
from tests.fakes.clock import NOON
from tests.fakes.control_plane import World, a_model, a_node, a_runtime, a_spec, an_instance, seen

N1, N2 = NodeId("n1"), NodeId("n2")
CHAT = RuntimeId("chat")
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
MOVING = a_spec(placement=PlacementSettings(move_after=2 * MINUTE))


def named(count: int) -> list[str]:
    return [f"n{number:02}" for number in range(count)]


async def fleet_of(*nodes: str, **runtimes: Runtime) -> tuple[World, PlaceRuntimes]:
    """All connected, and everything in its place."""
    world = World()
    await world.has(a_model(), *map(a_node, nodes), *runtimes.values())
    for node in nodes:
        world.fleet.connect(node, world.clock.now())
    place = PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock, world.circumstances)
    await place()
    return world, place


def silence(world: World, *nodes: str) -> None:
    for node in nodes:
        world.fleet.disconnect(node, world.clock.now())


async def explained(world: World, runtime: str = "chat") -> Explanation:
    return await ExplainRuntime(world.store, world.fleet, world.circumstances)(RuntimeId(runtime))


async def why(world: World, runtime: str = "chat") -> str:
    problem = (await explained(world, runtime)).waits
    return f"{problem.text} {problem.remedy}" if problem is not None else ""


async def test_without_a_word_a_runtime_stays_with_a_silent_node_for_ever() -> None:
    world, place = await fleet_of("n1", "n2", chat=a_runtime(node="n1"))
    silence(world, "n1")
    world.clock.advance(timedelta(days=30))
    assert await place() == 0
    assert "Node n1 is silent since 2026-11-20T12:00:00Z. This runtime stays there" in await why(world)
    assert "arwctl nodes drain n1" in await why(world)


async def test_a_drain_moves_what_a_silent_node_would_keep() -> None:
    world, place = await fleet_of("n1", "n2", chat=a_runtime(node="n1"))
    silence(world, "n1")
    await DrainNode(world.store, world.fleet, world.clock)(N1)
    assert await place() == 1
    assert (await world.runtime()).node == N2


async def test_what_may_move_is_moved_after_its_time_and_not_before() -> None:
    world, place = await fleet_of("n1", "n2", chat=a_runtime(node="n1", spec=MOVING))
    silence(world, "n1")
    assert await place() == 0
    assert "It" not in await why(world)
    assert "This runtime is moved at 2026-11-20T12:02:00Z unless it is back." in await why(world)
    world.clock.advance(2 * MINUTE - SECOND)
    assert await place() == 0
    world.clock.advance(SECOND)
    assert await place() == 1
    moved = await world.runtime()
    assert (moved.node, moved.fence, moved.departure) == (N2, 2, Departure(N1, world.clock.now()))


async def test_a_node_that_is_back_in_time_keeps_what_it_runs() -> None:
    world, place = await fleet_of("n1", "n2", chat=a_runtime(node="n1", spec=MOVING))
    silence(world, "n1")
    await place()
    world.clock.advance(MINUTE)
    world.fleet.connect("n1", world.clock.now())
    await place()
    world.clock.advance(timedelta(hours=1))
    assert await place() == 0
    assert await why(world) == ""


async def test_what_may_move_and_fits_nowhere_stays_and_moves_once_it_fits() -> None:
    world, place = await fleet_of("n1", chat=a_runtime(node="n1", spec=MOVING))
    silence(world, "n1")
    await place()
    world.clock.advance(2 * MINUTE)
    assert await place() == 1
    runtime = await world.runtime()
    assert runtime.node == N1
    assert runtime.stuck
    assert "It is to leave node n1, and fits nowhere else. Node n1 is offline." in runtime.stuck.text
    await world.has(a_node("n2"))
    world.fleet.connect("n2")
    assert await place() == 1
    assert (await world.runtime()).node == N2


async def test_a_node_that_returns_finds_a_tombstone_and_its_copy_serves_nothing() -> None:
    world, place = await fleet_of("n1", "n2", chat=a_runtime(node="n1", spec=MOVING))
    world.fleet.record(an_instance("chat"))
    runtime = await world.runtime()
    await world.store.write(lambda tx: save_runtime(tx, runtime, NOON))
    at_n1 = await world.revision()
    silence(world, "n1")
    await place()
    world.clock.advance(2 * MINUTE)
    await place()
    (tombstone,) = await world.store.read(lambda tx: tx.desired.since(N1, at_n1))
    assert (tombstone.content, tombstone.name) == (None, "nodes/n1/instances/chat")
    (row,) = await world.store.read(lambda tx: tx.desired.live(N2))
    assert row.content is not None
    assert row.content.runtime.fence == 2
    assert [copy.node for copy in (await explained(world)).copies] == [N1]
    world.fleet.connect("n1")
    assert [copy.state.value for copy in (await explained(world)).copies] == ["ready"]
    assert await place() == 0
    world.fleet.forget(N1, CHAT)
    assert (await explained(world)).copies == ()


async def test_after_a_start_of_the_control_plane_a_node_has_its_time_to_come_back() -> None:
    world, place = await fleet_of("n1", "n2", chat=a_runtime(node="n1", spec=MOVING))
    world.fleet.contacts[N1] = Liveness(online=False)
    world.fleet.trouble(N1, ())
    world.clock.advance(timedelta(hours=1))
    assert await place() == 0
    assert "has its time to come back" in await why(world)
    world.fleet.contacts[N1] = Liveness(online=False, offline_since=world.clock.now())
    world.clock.advance(MINUTE)
    assert await place() == 0
    world.clock.advance(MINUTE)
    assert await place() == 1


async def test_what_was_moved_rests_before_it_is_moved_again() -> None:
    moving = a_spec(placement=PlacementSettings(move_after=10 * SECOND))
    world, place = await fleet_of("n1", "n2", "n3", chat=a_runtime(node="n1", spec=moving))
    silence(world, "n1")
    await place()
    world.clock.advance(10 * SECOND)
    await place()
    assert (await world.runtime()).node == N2
    silence(world, "n2")
    await place()
    world.clock.advance(MINUTE)
    assert await place() == 0
    assert "This runtime is moved at 2026-11-20T12:05:10Z unless it is back." in await why(world)
    world.clock.advance(4 * MINUTE)
    assert await place() == 1
    assert (await world.runtime()).node == "n3"


@pytest.mark.parametrize("standing", [Standing.REVOKED, Standing.WAITING_FOR_APPROVAL])
async def test_what_rests_leaves_a_node_that_is_gone_or_drained_at_once(standing: Standing) -> None:
    world, place = await fleet_of("n1", "n2", "n3", chat=a_runtime(node="n1", departure=Departure(N2, NOON)))
    await DrainNode(world.store, world.fleet, world.clock)(N1)
    assert await place() == 1
    assert (await world.runtime()).node == N2
    await world.has(replace(await world.node("n2"), standing=standing))
    assert await place() == 1
    assert (await world.runtime()).node == "n3"


def flap(world: World, node: str, times: int, every: timedelta = MINUTE) -> None:
    for _ in range(times):
        silence(world, node)
        world.clock.advance(every / 2)
        world.fleet.connect(node, world.clock.now())
        world.clock.advance(every / 2)


async def test_a_node_that_comes_and_goes_gets_nothing_new_until_it_was_steady() -> None:
    world, place = await fleet_of("n1", old=a_runtime("old", "n1"))
    flap(world, "n1", 3)
    await world.has(a_runtime("new"))
    await place()
    problem = (await world.runtime("new")).placement_problem
    assert problem is not None
    assert problem.reason == "UNSCHEDULABLE"
    assert "Node n1 came and went 3 times of late, and takes nothing new before 2026-11-20T12:07:30Z." in problem.text
    assert (await world.runtime("old")).node == N1
    (verdict,) = (await explained(world, "new")).verdicts
    assert verdict.problems == (problem,)
    world.clock.advance(4.5 * MINUTE - SECOND)
    assert await place() == 0
    world.clock.advance(SECOND)
    assert await place() == 1
    assert (await world.runtime("new")).node == N1


async def test_two_turns_or_three_in_a_long_time_are_no_reason() -> None:
    for times, every in ((2, MINUTE), (3, 6 * MINUTE)):
        world, place = await fleet_of("n1")
        flap(world, "n1", times, every)
        await world.has(a_runtime("new"))
        assert await place() == 1
        assert (await world.runtime("new")).node == N1


@given(st.lists(st.integers(0, 1200), max_size=6), st.none() | st.integers(0, 1200))
def test_a_node_is_unsteady_for_as_long_as_its_calm_and_only_after_three_turns(
    times: list[int], back: int | None
) -> None:
    went = [NOON + number * SECOND for number in sorted(times)]
    online_since = NOON + back * SECOND if back is not None else None
    until = unsteady_until(went, online_since, Calm())
    restless = len(went) >= 3 and went[-1] - went[-3] <= Calm().window and online_since is not None
    assert until == (online_since + Calm().steady if restless and online_since else None)


async def test_f19_when_all_nodes_fall_silent_at_once_nothing_is_moved() -> None:
    runtimes = {f"r{n}": a_runtime(f"r{n}", node, spec=MOVING) for n, node in enumerate(named(10))}
    world, place = await fleet_of(*named(10), **runtimes)
    silence(world, *named(10))
    await place()
    world.clock.advance(timedelta(hours=1))
    assert await place() == 0
    (event,) = await world.events("cluster.placement")
    assert (event.payload["held"], event.payload["silent"], event.payload["of"]) == (True, 10, 10)
    for node in named(10):
        world.fleet.connect(node)
    assert await place() == 0
    assert [event.payload["held"] for event in await world.events("cluster.placement")] == [True, False]
    assert {(await world.runtime(name)).node for name in runtimes} == set(named(10))


async def mass(silent: int) -> tuple[World, PlaceRuntimes]:
    """Ten nodes, of which the last ones fell silent at once; what ran there might move since."""
    nodes = named(10)
    runtimes = {f"r{n}": a_runtime(f"r{n}", node, spec=MOVING) for n, node in enumerate(nodes)}
    world, place = await fleet_of(*nodes, **runtimes)
    silence(world, *nodes[10 - silent :])
    await place()
    world.clock.advance(5 * MINUTE)
    return world, place


async def test_f20_more_than_three_tenths_at_once_hold_everything_and_three_tenths_do_not() -> None:
    world, place = await mass(4)
    assert await place() == 0
    assert "4 of 10 nodes fell silent at once" in await why(world, "r9")
    assert "arwctl nodes resume-placement" in await why(world, "r9")
    cluster = GetCluster(world.mirror, world.fleet, world.clock, 10 * SECOND, list)
    assert (await cluster()).silence == MassSilence(tuple(map(NodeId, named(10)[6:])), 10)
    world, place = await mass(3)
    assert await place() == 3


async def test_f20_contact_with_one_ends_it_and_the_others_have_their_time_to_follow() -> None:
    world, place = await mass(4)
    assert await place() == 0
    world.fleet.connect("n06")
    world.clock.advance(SECOND)
    assert await place() == 0
    world.fleet.connect("n07")
    world.clock.advance(2 * MINUTE - SECOND)
    assert await place() == 0
    world.clock.advance(SECOND)
    assert await place() == 2
    assert (await world.runtime("r7")).node == "n07"
    assert (await world.runtime("r6")).node == "n06"


async def test_f20_an_operator_gives_the_silent_up_and_the_word_ends_when_they_are_heard() -> None:
    world, place = await mass(4)
    await place()
    resume = ResumePlacement(world.store, world.fleet, world.clock)
    assert [view.node.id for view in await resume()] == named(10)[6:]
    assert await resume() == ()
    assert await place() == 4
    assert [event.payload["held"] for event in await world.events("cluster.placement")] == [True, False]
    assert {event.payload["cause"] for event in await world.events("cluster.node.changed")} == {"given up"}
    given_up = await GetNode(world.store, world.fleet)(NodeId("n09"))
    assert given_up.given_up
    await world.has(replace(given_up.node, session_epoch=given_up.node.session_epoch + 1))
    world.fleet.connect("n09")
    assert not (await GetNode(world.store, world.fleet)(NodeId("n09"))).given_up


async def test_with_nothing_held_there_is_nothing_to_give_up() -> None:
    world, _ = await mass(2)
    revision = await world.revision()
    assert await ResumePlacement(world.store, world.fleet, world.clock)() == ()
    assert await world.revision() == revision


async def test_a_new_leader_tells_of_a_silence_only_what_was_not_told() -> None:
    world, place = await mass(4)
    await place()
    other = PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)
    await other()
    assert len(await world.events("cluster.placement")) == 1
    for node in named(10):
        world.fleet.connect(node)
    third = PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)
    await third()
    assert [event.payload["held"] for event in await world.events("cluster.placement")] == [True, False]


def away(node: str, since: datetime | None) -> NodeView:
    view = seen(a_node(node), online=False)
    return replace(view, liveness=replace(view.liveness, offline_since=since))


def test_nodes_that_went_one_by_one_are_no_mass_however_many() -> None:
    slowly = [away(node, NOON + number * AT_ONCE) for number, node in enumerate(named(9))]
    assert mass_silence(slowly) is None
    assert mass_silence([*slowly, away("n98", NOON), away("n99", NOON)]) is not None


def test_those_that_never_came_were_sent_away_or_may_still_come_back_do_not_count() -> None:
    others = [
        seen(a_node("new", session_epoch=0), online=False),
        seen(a_node("revoked", standing=Standing.REVOKED), online=False),
        away("waited-for", None),
    ]
    two = [away("n1", NOON), away("n2", NOON)]
    assert mass_silence([*others, *two]) is None
    found = mass_silence([*others, *two, away("n3", NOON)])
    assert found == MassSilence((NodeId("n1"), NodeId("n2"), NodeId("n3")), 4)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 90)), max_size=12), st.randoms())
def test_a_mass_is_at_least_three_and_more_than_three_tenths_within_a_minute(
    nodes: list[tuple[bool, int]], random: object
) -> None:
    views = [
        seen(a_node(f"n{n}")) if online else away(f"n{n}", NOON + second * SECOND)
        for n, (online, second) in enumerate(nodes)
    ]
    found = mass_silence(views)
    random.shuffle(views)  # type: ignore[attr-defined]
    assert mass_silence(views) == found
    times = [second for online, second in nodes if not online]
    together = max((_within(times, start) for start in times), default=0)
    assert (found is not None) == (together >= 3 and together > 0.3 * len(nodes))


def _within(times: Iterable[int], start: int) -> int:
    return sum(start <= time <= start + AT_ONCE / SECOND for time in times)
