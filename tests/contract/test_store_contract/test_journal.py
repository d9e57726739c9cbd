"""Events, remembered answers and listeners, on every store."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest

from control_plane.domain.errors import RequestIdReused
from control_plane.domain.event import Event, EventsKept
from control_plane.domain.ids import NodeId
from control_plane.store.memory import MemoryStore
from control_plane.store.retention import PRUNED_AT_ONCE
from control_plane.use_cases.ports import Transaction
from tests.fakes.store_rows import (
    NOON,
    StandingClock,
)
from tests.fakes.stores import AnyStore, append, revise

A, B = NodeId("a"), NodeId("b")


async def test_events_get_growing_ids_and_the_clock_s_time(store: AnyStore, clock: StandingClock) -> None:
    await store.write(lambda tx: tx.journal.append(Event("node.online", "a", {"n": 1, "deep": {"x": [None, 1.5]}})))
    clock.advance(timedelta(seconds=1))
    await store.write(lambda tx: tx.journal.append(Event("node.offline", "a", time=NOON - timedelta(days=1))))
    await store.write(lambda tx: tx.journal.append(Event("node.online", "a")))
    events = await store.read(lambda tx: tx.journal.after(0, (), 10))
    assert [event.id for event in events] == [1, 2, 3]
    assert events[0] == Event("node.online", "a", {"n": 1, "deep": {"x": [None, 1.5]}}, 1, NOON)
    assert [event.time for event in events[1:]] == [NOON - timedelta(days=1), NOON + timedelta(seconds=1)]
    assert await store.read(lambda tx: tx.journal.last_id()) == 3


@pytest.mark.parametrize(
    ("prefixes", "ids"),
    [
        ((), [1, 2, 3, 4, 5]),
        (("node.",), [1, 3]),
        (("node",), [1, 3, 4]),
        (("node.", "instance."), [1, 2, 3]),
        (("%", "_"), []),
        (("NODE",), []),
        (("a%",), [5]),
        (("instance.crashed.twice",), []),
    ],
)
async def test_prefixes_choose_kinds(store: AnyStore, prefixes: tuple[str, ...], ids: list[int]) -> None:
    await store.write(append("node.online instance.crashed node.offline nodes_all a%b"))
    found = await store.read(lambda tx: tx.journal.after(0, prefixes, 10))
    newest = await store.read(lambda tx: tx.journal.newest(prefixes, 10))
    assert [event.id for event in found] == ids
    assert list(newest) == list(found)


async def test_after_takes_the_oldest_and_newest_the_newest_both_oldest_first(store: AnyStore) -> None:
    await store.write(append("a b c d e"))
    assert [event.kind for event in await store.read(lambda tx: tx.journal.after(1, (), 2))] == ["b", "c"]
    assert [event.kind for event in await store.read(lambda tx: tx.journal.newest((), 2))] == ["d", "e"]
    assert await store.read(lambda tx: tx.journal.newest((), 0)) == []


async def test_pruning_forgets_a_month_old_events_but_never_reuses_their_ids(
    store: AnyStore, clock: StandingClock
) -> None:
    await store.write(append("old older"))
    clock.advance(timedelta(days=30))
    await store.write(append("young"))
    assert await store.prune(clock.now()) == 0
    clock.advance(timedelta(microseconds=1))
    assert await store.prune(clock.now()) == 2
    assert [event.kind for event in await store.read(lambda tx: tx.journal.after(0, (), 10))] == ["young"]
    clock.advance(timedelta(days=31))
    assert await store.prune(clock.now()) == 1
    await store.write(append("next"))
    assert [event.id for event in await store.read(lambda tx: tx.journal.newest((), 10))] == [4]


async def test_how_long_and_how_many_events_are_kept_can_be_said(store: AnyStore, clock: StandingClock) -> None:
    await store.write(append("a b c"))
    assert await store.prune(clock.now(), EventsKept(rows=2)) == 1
    assert [event.kind for event in await store.read(lambda tx: tx.journal.after(0, (), 10))] == ["b", "c"]
    clock.advance(timedelta(hours=1))
    await store.write(append("d"))
    assert await store.prune(clock.now(), EventsKept(age=timedelta(minutes=30))) == 2
    assert [event.id for event in await store.read(lambda tx: tx.journal.after(0, (), 10))] == [4]


async def test_events_from_before_a_new_history_are_counted_and_not_forgotten_for_their_ids(
    store: AnyStore, clock: StandingClock
) -> None:
    await store.write(append("a b"))
    await store.write(lambda tx: tx.begin_history())
    await store.write(append("c"))
    assert await store.prune(clock.now()) == 0
    assert [event.kind for event in await store.read(lambda tx: tx.journal.after(0, (), 10))] == ["a", "b", "c"]
    assert await store.prune(clock.now(), EventsKept(rows=2)) == 1
    assert [event.kind for event in await store.read(lambda tx: tx.journal.newest((), 10))] == ["b", "c"]


async def test_pruning_more_than_one_transaction_s_worth_ends_it_all(store: AnyStore, clock: StandingClock) -> None:
    count = 10 if isinstance(store, MemoryStore) else PRUNED_AT_ONCE + 1
    await store.write(append("x " * count))
    clock.advance(timedelta(days=31))
    assert await store.prune(clock.now()) == count


async def test_a_repeated_request_gets_the_first_answer(store: AnyStore) -> None:
    assert await store.read(lambda tx: tx.requests.remembered("Apply", "1", "aa")) is None
    await store.write(lambda tx: tx.requests.remember("Apply", "1", "aa", b"\x00answer"))
    assert await store.read(lambda tx: tx.requests.remembered("Apply", "1", "aa")) == b"\x00answer"
    assert await store.read(lambda tx: tx.requests.remembered("Delete", "1", "aa")) is None


async def test_a_request_id_used_with_another_request_is_refused(store: AnyStore) -> None:
    await store.write(lambda tx: tx.requests.remember("Apply", "1", "aa", b""))
    with pytest.raises(RequestIdReused) as refusal:
        await store.read(lambda tx: tx.requests.remembered("Apply", "1", "bb"))
    assert refusal.value.remedy


async def test_after_an_hour_a_request_id_is_free_again(store: AnyStore, clock: StandingClock) -> None:
    await store.write(lambda tx: tx.requests.remember("Apply", "1", "aa", b"first"))
    clock.advance(timedelta(hours=1) - timedelta(microseconds=1))
    assert await store.read(lambda tx: tx.requests.remembered("Apply", "1", "aa")) == b"first"
    clock.advance(timedelta(microseconds=1))
    assert await store.read(lambda tx: tx.requests.remembered("Apply", "1", "bb")) is None
    await store.write(lambda tx: tx.requests.remember("Apply", "1", "bb", b"second"))
    assert await store.read(lambda tx: tx.requests.remembered("Apply", "1", "bb")) == b"second"


async def test_pruning_keeps_the_answers_of_the_last_hour(store: AnyStore, clock: StandingClock) -> None:
    await store.write(lambda tx: tx.requests.remember("Apply", "old", "aa", b""))
    clock.advance(timedelta(minutes=30))
    await store.write(lambda tx: tx.requests.remember("Apply", "young", "aa", b""))
    clock.advance(timedelta(minutes=30))
    await store.prune(clock.now())
    clock.advance(timedelta(minutes=-45))
    assert await store.read(lambda tx: tx.requests.remembered("Apply", "old", "aa")) is None
    assert await store.read(lambda tx: tx.requests.remembered("Apply", "young", "aa")) == b""


async def test_listeners_hear_of_revisions_and_events_before_the_write_returns(store: AnyStore) -> None:
    heard: list[tuple[int, bool]] = []
    loop_thread = threading.get_ident()
    stop = store.on_change(lambda revision: heard.append((revision, threading.get_ident() == loop_thread)))
    await store.write(lambda tx: tx.revise("nodes", "a"))
    assert heard == [(1, True)]
    await store.write(append("node.online"))
    assert heard == [(1, True), (1, True)]
    await store.write(lambda tx: tx.nodes.delete(NodeId("nobody")))
    assert len(heard) == 2
    stop()
    await store.write(lambda tx: tx.revise("nodes", "a"))
    assert len(heard) == 2


async def test_listeners_hear_nothing_of_what_was_rolled_back(store: AnyStore) -> None:
    heard: list[int] = []
    store.on_change(heard.append)

    def change(tx: Transaction) -> None:
        tx.revise("nodes", "a")
        raise ValueError

    with pytest.raises(ValueError, match="^$"):
        await store.write(change)
    assert heard == []


async def test_the_last_thing_heard_is_the_newest_revision(store: AnyStore) -> None:
    heard: list[int] = []
    store.on_change(heard.append)
    await asyncio.gather(*(store.write(revise("nodes", f"n{n}")) for n in range(40)))
    assert heard == sorted(set(heard))
    assert heard[-1] == 40
