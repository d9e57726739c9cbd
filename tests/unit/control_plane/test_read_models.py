from __future__ import annotations

from datetime import timedelta

from control_plane.domain.event import Event
from control_plane.domain.node import NodeState, Standing
from control_plane.use_cases.get_cluster import GetCluster
from control_plane.use_cases.get_manifests import NEWS, GetManifests
from control_plane.use_cases.state_bell import StateBell
from tests.fakes.control_plane import World, a_node, a_runtime, an_instance


def cluster_of(world: World) -> GetCluster:
    return GetCluster(world.mirror, world.fleet, world.clock, timedelta(seconds=10), lambda: ())


async def announced(world: World, event: Event) -> None:
    await world.store.write(lambda tx: tx.journal.append(event))


async def test_the_cluster_is_every_machine_that_may_come_back_with_what_is_placed_there(world: World) -> None:
    await world.has(a_node("b"), a_node("a"), a_node("gone", standing=Standing.REVOKED))
    await world.has(a_runtime("chat", "a"), a_runtime("other", "a"), a_runtime("nowhere"))
    world.fleet.connect("a")
    cluster = await cluster_of(world)()
    assert [(node.view.node.id, node.view.state, node.runtimes, node.models) for node in cluster.nodes] == [
        ("a", NodeState.ONLINE, 2, ("tiny",)),
        ("b", NodeState.OFFLINE, 0, ()),
    ]
    assert cluster.ttl_seconds == 60


async def test_who_declared_what_stands_by_source_with_the_newest_news(world: World) -> None:
    await world.has(a_runtime("z", source="b.toml"), a_runtime("a", source="b.toml"), a_runtime("by-hand"))
    for number in range(NEWS + 2):
        await announced(world, Event("runtime.manifests.reloaded", "manifests", {"n": number}))
    await announced(world, Event("runtime.placed", "runtimes/a"))
    told = await GetManifests(world.store, world.clock, ("b.toml",))()
    assert told.declared == {"": ("by-hand",), "b.toml": ("a", "z")}
    assert list(told.declared) == ["", "b.toml"]
    assert [event.payload["n"] for event in told.news] == list(range(2, NEWS + 2))


async def test_the_bell_rings_for_rows_nodes_and_instances_until_it_is_stopped(world: World) -> None:
    rung: list[int] = []
    stop = StateBell(world.store, world.fleet).on_ring(lambda: rung.append(1))
    await world.has(a_node())
    after_rows = len(rung)
    world.fleet.connect("n1")
    after_node = len(rung)
    world.fleet.record(an_instance())
    assert 0 < after_rows < after_node < len(rung)
    stop()
    heard = len(rung)
    await world.has(a_node("n2"))
    world.fleet.connect("n2")
    assert len(rung) == heard
