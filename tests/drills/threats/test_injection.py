"""Words that would be more than words to a database, and a protocol that is older than what is spoken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from arw.v1 import problem_pb2
from arw.v1.node_service_pb2 import GetNodeRequest, ListNodesRequest
from arw.v1.runtime_service_pb2 import GetRuntimeRequest, ListRuntimesRequest
from arw.v1.state_service_pb2 import ListEventsRequest
from control_plane.domain.event import Event
from control_plane.domain.ids import ModelId, NodeId, OperatorId, RuntimeId, TokenId
from control_plane.store.sqlite import SqliteStore
from control_plane.use_cases.ports import Transaction
from tests.fakes.running_plane import RunningPlane
from tests.fakes.scripted_agent import ScriptedAgent
from tests.fakes.store_rows import NOON, StandingClock, a_model, a_node, a_runtime, a_token, an_operator, placed
from tests.fakes.tripwire import trip
from wire.error_status import refusal_of

EVIL = (
    "'; DROP TABLE nodes; --",
    '" OR ""="',
    "') OR 1=1 --",
    "%' UNION SELECT secret_sha256 FROM join_tokens --",
    ":after",
    ":id",
    "%(id)s",
    "%s",
    "?1",
    "$1",
    "{id}",
    "\\'; SELECT 1; --",
    "\u02bc OR 1=1",
    "';ATTACH DATABASE '/tmp/x' AS x;--",
)
HARMLESS = "plain"


def everything(tx: Transaction, word: str) -> None:
    """Each way in which a word from outside gets to the database."""
    for row in (a_node(word), replace(a_node("n"), labels={word: word})):
        tx.nodes.put(row)
    tx.runtimes.put(a_runtime(word))
    tx.models.put(a_model(word))
    tx.join_tokens.put(a_token(word))
    tx.operators.put(an_operator(word))
    tx.desired.put(NodeId(word), word, 1, placed("r"))
    tx.journal.append(Event(word, word, {word: word}))
    tx.requests.remember(word, word, word, word.encode())
    assert tx.requests.remembered(word, word, word) == word.encode()
    assert tx.nodes.get(NodeId(word)) is not None
    assert [event.kind for event in tx.journal.after(0, (word,), 10)] == [word]
    assert [event.kind for event in tx.journal.newest((word,), 10)] == [word]
    for table in (tx.nodes, tx.runtimes, tx.models, tx.join_tokens, tx.operators):
        table.page(word, 10)
    tx.redeem(TokenId(word), NOON, NodeId(word), word)
    tx.open_session(NodeId(word))
    tx.desired.bury(NodeId(word), word)
    tx.runtimes.delete(RuntimeId(word))
    tx.models.delete(ModelId(word))
    tx.operators.delete(OperatorId(word))


async def statements(path: Path, word: str) -> set[str]:
    """Whatever the database is told while this word goes everywhere."""
    found: set[str] = set()
    store = await SqliteStore.open(path, StandingClock())
    trip(store, found.add)
    await store.write(lambda tx: everything(tx, word))
    assert {node.id for node in await store.read(lambda tx: tx.nodes.all())} == {"n", word}
    await store.close()
    return found


async def test_t36_no_word_from_outside_becomes_part_of_a_statement(tmp_path: Path) -> None:
    usual = await statements(tmp_path / "plain.db", HARMLESS)
    assert len(usual) > 20
    for number, word in enumerate(EVIL):
        assert await statements(tmp_path / f"{number}.db", word) == usual, word


def asked(plane: RunningPlane, word: str) -> Iterator[Any]:
    yield plane.state.ListEvents(ListEventsRequest(prefixes=[word]))
    yield plane.nodes.GetNode(GetNodeRequest(name=word))
    yield plane.nodes.ListNodes(ListNodesRequest(page_token=word))
    yield plane.runtimes.GetRuntime(GetRuntimeRequest(name=word))
    yield plane.runtimes.ListRuntimes(ListRuntimesRequest(page_token=word))


async def test_t36_what_is_no_id_prefix_or_token_finds_nothing_and_breaks_nothing(plane: RunningPlane) -> None:
    for word in EVIL:
        for call in asked(plane, word):
            with suppress(grpc.aio.AioRpcError):
                answer = await call
                assert not answer.ByteSize(), word
                continue
            assert await call.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND), word


@pytest.mark.parametrize(("least", "most"), [(0, 0), (2, 9)])
async def test_t35_an_agent_of_another_protocol_opens_nothing_and_learns_what_is_spoken(
    plane: RunningPlane, least: int, most: int
) -> None:
    agent = ScriptedAgent(await plane.join("n1"))
    await agent.dial()
    await agent.greet(protocol_min=least, protocol_max=most)
    problem = (await agent.refusal()).problem
    ended = await agent.ended()
    await agent.hang_up()
    assert problem.reason == problem_pb2.REASON_PROTOCOL_UNSUPPORTED
    assert problem.text == f"The agent speaks protocol {least} to {most}, the control plane 1 to 1."
    assert ended is not None
    assert refusal_of(ended).remote_reason == "PROTOCOL_UNSUPPORTED"
    assert not list(plane.plane.fleet.online())
