from __future__ import annotations

from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.use_cases.mirror import Changed, Mirror
from tests.fakes.control_plane import World, a_model, a_node, a_runtime

N1, N2, CHAT = NodeId("n1"), NodeId("n2"), RuntimeId("chat")


async def heard(mirror: Mirror) -> list[Changed]:
    """What listeners are told from now on."""
    found: list[Changed] = []
    mirror.on_change(found.append)
    return found


async def test_a_look_takes_in_what_changed_since_the_one_before(world: World) -> None:
    await world.has(a_node("n1"), a_node("n2"), a_model(), a_runtime(node="n1"))
    mirror = Mirror(world.store)
    told = await heard(mirror)
    await mirror.look()
    assert (set(mirror.nodes), set(mirror.runtimes), set(mirror.models)) == ({N1, N2}, {CHAT}, {ModelId("tiny")})
    assert [runtime.id for runtime in mirror.placed(N1)] == [CHAT]
    await world.has(a_runtime(node="n2"))
    await mirror.look()
    assert told[-1] == Changed(runtimes=frozenset([CHAT]), hosts=frozenset([N1, N2]))
    assert (mirror.load(), mirror.placed(N1)) == ({N1: 0, N2: 1}, [])


async def test_what_was_deleted_is_gone_and_told(world: World) -> None:
    await world.has(a_node("n1"), a_runtime(node="n1"))
    await world.mirror.look()
    told = await heard(world.mirror)
    await world.store.write(lambda tx: tx.runtimes.delete(CHAT))
    await world.mirror.look()
    assert not world.mirror.runtimes
    assert told == [Changed(runtimes=frozenset([CHAT]), hosts=frozenset([N1]))]


async def test_without_news_nobody_is_told(world: World) -> None:
    await world.has(a_node("n1"))
    await world.mirror.look()
    told = await heard(world.mirror)
    await world.mirror.look()
    assert told == []


async def test_a_mirror_that_fell_behind_compaction_reads_everything(world: World) -> None:
    await world.has(a_node("n1"), a_runtime("a", "n1"), a_runtime("b", "n1"))
    await world.mirror.look()
    await world.store.write(lambda tx: tx.runtimes.delete(RuntimeId("a")))
    await world.has(a_runtime("c", "n1"))
    await world.store.compact(0)  # type: ignore[attr-defined]
    told = await heard(world.mirror)
    await world.mirror.look()
    assert sorted(world.mirror.runtimes) == ["b", "c"]
    assert [runtime.id for runtime in world.mirror.placed(N1)] == ["b", "c"]
    assert told[0].runtimes == {"a", "b", "c"}
