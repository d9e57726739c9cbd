from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import pytest

from control_plane.domain.ids import NodeId
from control_plane.domain.node import Node
from control_plane.store.memory import MemoryStore
from control_plane.use_cases.change_log import SAFETY_SECONDS, ChangeLog, Named
from control_plane.use_cases.ports import Transaction
from tests.fakes.store_rows import StandingClock
from tests.fakes.stores import put_node

T = TypeVar("T")


class CountingStore(MemoryStore):
    reads = 0

    async def read(self, query: Callable[[Transaction], T]) -> T:
        self.reads += 1
        return await super().read(query)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore(StandingClock())


def following(store: CountingStore) -> ChangeLog[Mapping[NodeId, Node | None]]:
    return ChangeLog(store, lambda tx, named: named.rows("nodes", tx.nodes, NodeId, ()))


async def seen(log: ChangeLog[Mapping[NodeId, Node | None]]) -> list[str] | None:
    async with log.look() as news:
        return None if news is None else sorted(news)


async def test_a_look_costs_no_read_where_nothing_was_committed_since(store: CountingStore) -> None:
    log = following(store)
    await store.write(put_node("a"))
    assert await seen(log) == ["a"]
    assert [await seen(log) for _ in range(5)] == [None] * 5
    assert store.reads == 1
    await store.write(put_node("b"))
    assert await seen(log) == ["b"]


async def test_now_and_then_a_look_reads_whatever_the_store_says(store: CountingStore) -> None:
    log = following(store)
    await seen(log)
    log._read_at -= SAFETY_SECONDS
    assert await seen(log) is None
    assert store.reads == 2


async def test_what_could_not_be_taken_in_is_found_again(store: CountingStore) -> None:
    log = following(store)
    await store.write(put_node("a"))
    with pytest.raises(ValueError, match="not now"):
        async with log.look():
            raise ValueError("not now")
    assert await seen(log) == ["a"]


async def test_after_a_cut_history_every_row_is_news_and_so_is_what_is_gone(store: CountingStore) -> None:
    log = following(store)
    await seen(log)
    for name in ("a", "b"):
        await store.write(put_node(name))
    await store.compact(0)
    async with log.look() as news:
        assert news is not None
        assert sorted(news) == ["a", "b"]
    gone = await store.read(lambda tx: Named(None).rows("nodes", tx.nodes, NodeId, [NodeId("c")]))
    assert gone[NodeId("c")] is None
    assert gone.keys() == {"a", "b", "c"}
