"""Rows, atomicity and isolation, on every store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from control_plane.domain.authority import Authority, AuthorityState
from control_plane.domain.errors import StorageUnavailable
from control_plane.domain.event import Event
from control_plane.domain.execution import ExecutionMode, ExecutionOffer, ExecutionSettings
from control_plane.domain.ids import AuthorityId, JobId, ModelId, NodeId, OperatorId, RuntimeId, TokenId
from control_plane.domain.jobs.job import Job, JobKind, JobOrder, JobState
from control_plane.domain.node import Engine, Node, NodeInventory
from control_plane.use_cases.ports import Transaction
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.store_rows import (
    NOON,
    a_model,
    a_node,
    a_runtime,
    a_token,
    an_operator,
)
from tests.fakes.stores import AnyStore, put_node

A, B = NodeId("a"), NodeId("b")
ENGINE = Engine("llama.cpp", "/app/llama-server", "ab" * 32, "b1", "llama:1")


async def test_every_kind_of_row_comes_back_as_it_was_put(store: AnyStore) -> None:
    def fill(tx: Transaction) -> None:
        tx.nodes.put(a_node("a"))
        tx.runtimes.put(a_runtime("llama.cpp/cpu"))
        tx.models.put(a_model())
        tx.join_tokens.put(a_token("t"))
        tx.operators.put(an_operator("local"))

    await store.write(fill)
    assert await store.read(lambda tx: tx.nodes.get(A)) == a_node("a")
    assert await store.read(lambda tx: tx.runtimes.get(RuntimeId("llama.cpp/cpu"))) == a_runtime("llama.cpp/cpu")
    assert await store.read(lambda tx: tx.models.get(ModelId("tiny"))) == a_model()
    assert await store.read(lambda tx: tx.join_tokens.get(TokenId("t"))) == a_token("t")
    assert await store.read(lambda tx: tx.operators.get(OperatorId("local"))) == an_operator("local")


async def test_modes_come_back_as_they_were_put(store: AnyStore) -> None:
    mode = ExecutionMode.CONTAINER
    plain, settings = a_runtime("r"), ExecutionSettings((mode,), mode, "llama:1")
    runtime = replace(plain, spec=replace(plain.spec, execution=settings))
    offers = (ExecutionOffer(mode, available=True, detail="podman 4.3.1"),)
    node = replace(a_node("a"), inventory=NodeInventory(engines=(ENGINE,), execution=offers))
    await store.write(lambda tx: tx.runtimes.put(runtime))
    await store.write(lambda tx: tx.nodes.put(node))
    assert await store.read(lambda tx: tx.runtimes.get(runtime.id)) == runtime
    assert await store.read(lambda tx: tx.nodes.get(A)) == node


async def test_authorities_keep_their_keys_and_are_in_the_change_log(store: AnyStore) -> None:
    sealed = Authority(AuthorityId("a"), AuthorityState.PREPARED, b"\x00one", b"sealed\xff", NOON, NOON)
    bare = Authority(AuthorityId("b"), AuthorityState.ACTIVE, b"two")
    for row in (sealed, bare, replace(sealed, state=AuthorityState.ACTIVE)):
        await store.write(partial(_put_authority, row))
        assert await store.read(partial(_authority, row.id)) == row
    changes = await store.read(lambda tx: tx.changes(0))
    assert [change.name for change in changes if change.kind == "authorities"] == ["a", "b", "a"]


def _put_authority(row: Authority, tx: Transaction) -> None:
    tx.authorities.put(row)


def _authority(key: AuthorityId, tx: Transaction) -> Authority | None:
    return tx.authorities.get(key)


async def test_putting_again_replaces_the_row(store: AnyStore) -> None:
    await store.write(lambda tx: tx.models.put(a_model()))
    await store.write(lambda tx: tx.models.put(replace(a_model(), path="/elsewhere")))
    assert [model.path for model in await store.read(lambda tx: tx.models.all())] == ["/elsewhere"]


async def test_a_deleted_row_is_gone_and_deleting_it_again_does_nothing(store: AnyStore) -> None:
    await store.write(lambda tx: tx.models.put(a_model()))
    await store.write(lambda tx: tx.models.delete(ModelId("tiny")))
    await store.write(lambda tx: tx.models.delete(ModelId("tiny")))
    assert await store.read(lambda tx: tx.models.get(ModelId("tiny"))) is None


async def test_rows_are_ordered_by_code_point(store: AnyStore) -> None:
    ids = ["a", "a-b", "a.b", "a/b", "a_b", "ab", "b", "b0"]

    def fill(tx: Transaction) -> None:
        for name in reversed(ids):
            tx.runtimes.put(a_runtime(name))

    await store.write(fill)
    assert [row.id for row in await store.read(lambda tx: tx.runtimes.all())] == sorted(ids)


async def test_pages_follow_one_another_without_gap_or_repeat(store: AnyStore) -> None:
    def fill(tx: Transaction) -> None:
        for number in range(7):
            tx.nodes.put(a_node(f"n{number}"))

    def page_after(after: str, tx: Transaction) -> Sequence[Node]:
        return tx.nodes.page(after, 3)

    await store.write(fill)
    pages: list[list[str]] = []
    after = ""
    while page := await store.read(partial(page_after, after)):
        pages.append([node.id for node in page])
        after = page[-1].id
    assert pages == [["n0", "n1", "n2"], ["n3", "n4", "n5"], ["n6"]]


async def test_what_a_caller_does_to_its_row_afterwards_changes_nothing_stored(store: AnyStore) -> None:
    labels = {"zone": "a"}
    await store.write(lambda tx: tx.nodes.put(replace(a_node("a"), labels=labels)))
    labels["zone"] = "b"
    stored = await store.read(lambda tx: tx.nodes.get(A))
    assert stored is not None
    assert stored.labels == {"zone": "a"}


async def test_a_change_sees_its_own_writes(store: AnyStore) -> None:
    def change(tx: Transaction) -> bool:
        tx.nodes.put(a_node("a"))
        return tx.nodes.get(A) == a_node("a")

    assert await store.write(change)


async def test_a_failing_change_rolls_back_all_of_itself_and_raises_its_own_error(store: AnyStore) -> None:
    def change(tx: Transaction) -> None:
        tx.revise("nodes", "a")
        tx.nodes.put(a_node("a"))
        tx.journal.append(Event("node.joined", "a"))
        raise KeyError("on purpose")

    with pytest.raises(KeyError, match="on purpose"):
        await store.write(change)
    assert await store.read(lambda tx: (tx.nodes.all(), tx.revision(), tx.journal.last_id())) == ([], 0, 0)


async def test_a_failing_change_takes_no_neighbour_with_it(store: AnyStore) -> None:
    def change(number: int, tx: Transaction) -> int:
        revision = tx.revise("nodes", f"n{number}")
        tx.nodes.put(a_node(f"n{number}"))
        if number % 3 == 0:
            raise ValueError(number)
        return revision

    writes = [store.write(partial(change, number)) for number in range(30)]
    answers = await asyncio.gather(*writes, return_exceptions=True)
    kept = [number for number in range(30) if number % 3]
    assert {row.uid for row in await store.read(lambda tx: tx.nodes.all())} == {f"uid-n{number}" for number in kept}
    assert sorted(answer for answer in answers if isinstance(answer, int)) == list(range(1, len(kept) + 1))
    assert all(isinstance(answers[number], ValueError) for number in range(0, 30, 3))


async def test_a_read_that_writes_is_refused_and_changes_nothing(store: AnyStore) -> None:
    with pytest.raises(RuntimeError, match="must not write"):
        await store.read(lambda tx: tx.nodes.put(a_node("a")))
    assert await store.read(lambda tx: tx.nodes.all()) == []


async def test_what_was_written_is_read_by_the_next_read(store: AnyStore) -> None:
    for number in range(20):
        await store.write(put_node(f"n{number:02}"))
        assert len(await store.read(lambda tx: tx.nodes.all())) == number + 1


async def test_a_fault_before_the_commit_stores_nothing(store: AnyStore) -> None:
    faulty = FaultyStore(store)
    faulty.fail_next(Fault.BEFORE_COMMIT)
    with pytest.raises(StorageUnavailable):
        await faulty.write(lambda tx: tx.nodes.put(a_node("a")))
    assert await faulty.read(lambda tx: tx.nodes.all()) == []
    await faulty.write(lambda tx: tx.nodes.put(a_node("a")))


async def test_a_fault_after_the_commit_leaves_the_change_stored(store: AnyStore) -> None:
    faulty = FaultyStore(store)
    faulty.fail_next(Fault.AFTER_COMMIT)
    with pytest.raises(StorageUnavailable):
        await faulty.write(lambda tx: tx.nodes.put(a_node("a")))
    assert await faulty.read(lambda tx: tx.nodes.all()) == [a_node("a")]


async def test_jobs_come_back_as_they_were_put_and_their_changes_are_logged(store: AnyStore) -> None:
    swap = JobOrder(JobKind.SWAP_MODEL, RuntimeId("r"), timedelta(minutes=1), model=ModelId("tiny"))
    job = Job(JobId("j"), swap, "local", "uid-r", NOON, NOON + timedelta(minutes=1), previous=a_runtime("r").spec)
    later = replace(job, state=JobState.FAILED, end_time=NOON, rolled_back=True)
    await store.write(lambda tx: tx.jobs.put(job))
    assert await store.read(lambda tx: tx.jobs.get(job.id)) == job
    await store.write(lambda tx: tx.jobs.put(later))
    assert await store.read(lambda tx: tx.jobs.all()) == [later]
    await store.write(lambda tx: tx.jobs.delete(job.id))
    assert await store.read(lambda tx: tx.jobs.page("", 10)) == []
    logged = await store.read(lambda tx: tx.changes(0))
    assert [(change.revision, change.kind, change.name) for change in logged] == [(n, "jobs", "j") for n in (1, 2, 3)]
