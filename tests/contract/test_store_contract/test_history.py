"""Revisions, desired state, sessions and join tokens, on every store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from control_plane.domain.desired import DesiredRow
from control_plane.domain.errors import NotFound
from control_plane.domain.ids import ModelId, NodeId, RuntimeId, TokenId
from control_plane.store.postgres import PostgresStore
from control_plane.use_cases.lost_history import JUMP
from control_plane.use_cases.ports import Change, Transaction
from tests.fakes.store_rows import (
    NOON,
    a_model,
    a_node,
    a_runtime,
    a_token,
    placed,
)
from tests.fakes.stores import AnyStore, append, put_node, revise

A, B = NodeId("a"), NodeId("b")


async def test_a_transaction_has_one_revision_however_often_it_asks(store: AnyStore) -> None:
    def change(tx: Transaction) -> tuple[int, int, int]:
        return tx.revise("runtimes", "a"), tx.revise("models", "m"), tx.revision()

    assert await store.write(change) == (1, 1, 1)
    assert await store.write(lambda tx: tx.revise("runtimes", "b")) == 2
    expected = [Change(1, "models", "m"), Change(1, "runtimes", "a"), Change(2, "runtimes", "b")]
    assert await store.read(lambda tx: tx.changes(0)) == expected
    assert await store.read(lambda tx: tx.changes(1)) == expected[2:]


async def test_the_same_change_logged_twice_in_a_transaction_is_one_row(store: AnyStore) -> None:
    await store.write(lambda tx: (tx.revise("nodes", "a"), tx.revise("nodes", "a")))
    assert await store.read(lambda tx: tx.changes(0)) == [Change(1, "nodes", "a")]


async def test_a_history_has_one_id(store: AnyStore) -> None:
    first = await store.read(lambda tx: tx.history_id())
    assert first
    assert await store.write(lambda tx: tx.history_id()) == first


def _model_and_runtime(tx: Transaction) -> None:
    tx.models.put(a_model("m"))
    tx.runtimes.put(a_runtime("r"))


def _deleted(tx: Transaction) -> None:
    tx.models.delete(ModelId("m"))
    tx.runtimes.delete(RuntimeId("none"))


async def test_what_is_put_or_deleted_is_in_the_change_log(store: AnyStore) -> None:
    await store.write(put_node("a"))
    await store.write(_model_and_runtime)
    await store.write(_deleted)
    await store.write(lambda tx: tx.open_session(A))
    expected = [(1, "nodes", "a"), (2, "models", "m"), (2, "runtimes", "r"), (3, "models", "m"), (4, "nodes", "a")]
    assert await store.read(lambda tx: tx.changes(0)) == [Change(*change) for change in expected]


async def test_what_nobody_follows_takes_no_revision(store: AnyStore) -> None:
    await store.write(lambda tx: tx.join_tokens.put(a_token("t")))
    await store.write(lambda tx: tx.nodes.delete(A))
    assert await store.read(lambda tx: tx.revision()) == 0


async def test_desired_rows_come_in_revision_order_then_name(store: AnyStore) -> None:
    def put(*names: str) -> Callable[[Transaction], None]:
        def change(tx: Transaction) -> None:
            tx.revise("runtimes", names[0])
            for name in names:
                tx.desired.put(A, name, 1, placed(name))

        return change

    await store.write(put("c", "b"))
    await store.write(put("a"))
    await store.write(put("c"))
    rows = await store.read(lambda tx: tx.desired.since(A, 0))
    assert [(row.name, row.revision) for row in rows] == [("b", 1), ("a", 2), ("c", 3)]
    assert [row.name for row in await store.read(lambda tx: tx.desired.since(A, 2))] == ["c"]
    assert [row.name for row in await store.read(lambda tx: tx.desired.live(A))] == ["a", "b", "c"]


async def test_a_move_leaves_a_tombstone_and_a_row_at_one_revision(store: AnyStore) -> None:
    def place(tx: Transaction) -> None:
        tx.revise("runtimes", "r")
        tx.desired.put(A, "r", 4, placed("r", 4))

    def move(tx: Transaction) -> None:
        tx.revise("runtimes", "r")
        tx.desired.bury(A, "r")
        tx.desired.put(B, "r", 5, placed("r", 5))

    await store.write(place)
    await store.write(move)
    assert await store.read(lambda tx: tx.desired.since(A, 1)) == [DesiredRow(A, "r", 2, 4, None)]
    assert await store.read(lambda tx: tx.desired.since(B, 1)) == [DesiredRow(B, "r", 2, 5, placed("r", 5))]
    assert await store.read(lambda tx: tx.desired.live(A)) == []


async def test_a_row_put_over_its_tombstone_lives_again(store: AnyStore) -> None:
    await store.write(lambda tx: tx.desired.put(A, "r", 1, placed("r")))
    await store.write(lambda tx: tx.desired.bury(A, "r"))
    await store.write(lambda tx: tx.desired.put(A, "r", 2, placed("r", 2)))
    assert await store.read(lambda tx: tx.desired.since(A, 0)) == [DesiredRow(A, "r", 3, 2, placed("r", 2))]


async def test_burying_what_is_not_alive_changes_no_row(store: AnyStore) -> None:
    await store.write(lambda tx: tx.desired.bury(A, "never"))
    await store.write(lambda tx: tx.desired.put(A, "r", 1, placed("r")))
    await store.write(lambda tx: tx.desired.bury(A, "r"))
    await store.write(lambda tx: tx.desired.bury(A, "r"))
    assert [(row.name, row.revision) for row in await store.read(lambda tx: tx.desired.since(A, 0))] == [("r", 3)]


async def test_changed_nodes_are_named_once_by_rows_and_by_tombstones(store: AnyStore) -> None:
    def first(tx: Transaction) -> None:
        for node, name in ((B, "x"), (B, "y"), (A, "z")):
            tx.desired.put(node, name, 1, placed(name))

    await store.write(first)
    await store.write(lambda tx: tx.desired.bury(B, "x"))
    assert await store.read(lambda tx: tx.desired.changed_nodes(0)) == [A, B]
    assert await store.read(lambda tx: tx.desired.changed_nodes(1)) == [B]
    assert await store.read(lambda tx: tx.desired.changed_nodes(2)) == []


async def test_compaction_forgets_old_changes_and_tombstones_and_says_so(store: AnyStore) -> None:
    def put_and_log(name: str, tx: Transaction) -> None:
        tx.revise("runtimes", name)
        tx.desired.put(A, name, 1, placed(name))

    def bury(name: str, tx: Transaction) -> None:
        tx.revise("runtimes", name)
        tx.desired.bury(A, name)

    for name in ("w", "x"):
        await store.write(partial(put_and_log, name))
    for name in ("w", "x"):
        await store.write(partial(bury, name))
    await store.write(partial(put_and_log, "y"))
    assert await store.compact(2) == 3
    assert await store.read(lambda tx: tx.compacted_revision()) == 3
    assert await store.read(lambda tx: tx.changes(0)) == [Change(4, "runtimes", "x"), Change(5, "runtimes", "y")]
    rows = await store.read(lambda tx: tx.desired.since(A, 0))
    assert [(row.name, row.content is None) for row in rows] == [("x", True), ("y", False)]


async def test_a_compacted_revision_never_goes_back(store: AnyStore) -> None:
    for name in "abc":
        await store.write(revise("nodes", name))
    assert await store.compact(0) == 3
    assert await store.compact(100) == 3
    assert await store.read(lambda tx: tx.revision()) == 3


async def test_a_new_history_hands_out_nothing_again_and_keeps_what_is_declared(store: AnyStore) -> None:
    def declare(tx: Transaction) -> None:
        tx.desired.put(A, "kept", 1, placed("kept"))
        tx.desired.put(A, "gone", 1, placed("gone"))

    await store.write(put_node("a"))
    await store.write(lambda tx: tx.open_session(A))
    await store.write(append("node.online"))
    await store.write(declare)
    await store.write(lambda tx: tx.desired.bury(A, "gone"))
    before = await store.read(lambda tx: (tx.history_id(), tx.revision(), tx.journal.last_id()))
    history = await store.write(lambda tx: tx.begin_history())
    assert history != before[0]
    found = await store.read(lambda tx: (tx.history_id(), tx.revision(), tx.journal.last_id()))
    assert found == (history, before[1] + JUMP, before[2] + JUMP)
    assert await store.read(lambda tx: (tx.compacted_revision(), list(tx.changes(0)))) == (found[1], [])
    assert [row.name for row in await store.read(lambda tx: tx.desired.since(A, 0))] == ["kept"]
    node = await store.read(lambda tx: tx.nodes.get(A))
    assert node == replace(a_node("a"), session_epoch=1 + JUMP, newer_certificate_believed=True)
    assert await store.write(lambda tx: tx.open_session(A)) == 2 + JUMP
    assert await store.write(revise("nodes", "a")) == found[1] + 2


async def test_a_new_history_that_is_refused_in_the_end_leaves_everything_as_it_was(store: AnyStore) -> None:
    def refused(tx: Transaction) -> None:
        tx.begin_history()
        raise KeyError

    await store.write(put_node("a"))
    before = await store.read(lambda tx: (tx.history_id(), tx.revision(), tx.nodes.get(A)))
    with pytest.raises(KeyError):
        await store.write(refused)
    assert await store.read(lambda tx: (tx.history_id(), tx.revision(), tx.nodes.get(A))) == before
    assert await store.write(revise("nodes", "a")) == before[1] + 1


async def test_each_session_of_a_node_has_the_next_epoch(store: AnyStore) -> None:
    await store.write(put_node("a"))
    assert [await store.write(lambda tx: tx.open_session(A)) for _ in range(3)] == [1, 2, 3]
    stored = await store.read(lambda tx: tx.nodes.get(A))
    assert stored == a_node("a", session_epoch=3)
    assert await store.read(lambda tx: tx.nodes.all()) == [stored]


async def test_a_stale_row_put_back_never_takes_the_epoch_back(store: AnyStore) -> None:
    await store.write(put_node("a"))
    await store.write(lambda tx: tx.open_session(A))
    await store.write(lambda tx: tx.nodes.put(replace(a_node("a"), etag="e2")))
    assert await store.read(lambda tx: tx.nodes.get(A)) == replace(a_node("a", session_epoch=1), etag="e2")


async def test_a_session_of_an_unknown_node_is_refused(store: AnyStore) -> None:
    with pytest.raises(NotFound):
        await store.write(lambda tx: tx.open_session(A))


async def test_of_fifty_at_once_exactly_one_redeems_a_token(store: AnyStore) -> None:
    await store.write(lambda tx: tx.join_tokens.put(a_token("t")))

    def redeem(number: int, tx: Transaction) -> bool:
        return tx.redeem(TokenId("t"), NOON, NodeId(f"n{number}"), f"{number:064x}")

    calls = [store.write(partial(redeem, number)) for number in range(50)]
    answers = await asyncio.gather(*calls)
    assert sum(answers) == 1
    winner = answers.index(True)
    used = replace(a_token("t"), use_time=NOON, used_by=NodeId(f"n{winner}"), used_key_sha256=f"{winner:064x}")
    assert await store.read(lambda tx: tx.join_tokens.get(TokenId("t"))) == used


async def test_an_expired_or_unknown_token_is_not_redeemed(store: AnyStore) -> None:
    await store.write(lambda tx: tx.join_tokens.put(a_token("t", expire_time=NOON)))
    assert not await store.write(lambda tx: tx.redeem(TokenId("t"), NOON, A, ""))
    assert await store.write(lambda tx: tx.redeem(TokenId("t"), NOON - timedelta(microseconds=1), A, ""))
    assert not await store.write(lambda tx: tx.redeem(TokenId("other"), NOON, A, ""))


async def test_what_was_overtaken_is_never_the_newest(store: AnyStore) -> None:
    await store.write(put_node("a"))
    first = await store.read(lambda tx: tx.revision())
    await store.write(put_node("b"))
    assert not store.is_newest(first)


async def test_who_writes_alone_knows_the_newest_without_a_read(store: AnyStore) -> None:
    assert not store.is_newest(-1)
    await store.write(put_node("a"))
    known = store.is_newest(await store.read(lambda tx: tx.revision()))
    assert known is not isinstance(store, PostgresStore)
