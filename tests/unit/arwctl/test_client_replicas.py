"""A client that knows of several replicas of one control plane."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from arw.v1 import event_pb2, node_pb2
from arw_client import ArwError, Chat, Client, Context, ContextError, UnreachableError, channel, connect, http
from arw_client import messages as m
from arw_client.trace import Trace
from tests.fakes.operator_api import OperatorApi, serving
from tests.unit.arwctl.conftest import TRUST, context_for, write_context
from tests.unit.arwctl.test_chat import PROMPT, Gateway, silent, sized
from wire.refusal import Refusal

NOBODY = "127.0.0.1:1"


class Draining(Refusal):
    reason = "DRAINING"


@contextmanager
def mute() -> Iterator[str]:
    """An address where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


class Ending(OperatorApi):
    """Of a replica that is asked, and ends before it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def note(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await super().note(request, context)
        self.asked.set()
        await asyncio.Event().wait()


@asynccontextmanager
async def ending() -> AsyncIterator[str]:
    """Its address, whose connections are cut once it was asked."""
    api = Ending()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(*address.split(":"))
        pumps = [asyncio.create_task(pump(reader, ours)), asyncio.create_task(pump(theirs, writer))]
        await api.asked.wait()
        for task in pumps:
            task.cancel()
        for end in (ours, writer):
            end.transport.abort()

    async with serving(api, TRUST) as address, await asyncio.start_server(lead, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


@asynccontextmanager
async def reaching(first: str, *others: str) -> AsyncIterator[Client]:
    async with connect(replace(context_for(TRUST, first), grpc_addresses=others)) as client:
        yield client


async def test_where_nobody_listens_the_next_replica_is_asked_for_changes_too(api: OperatorApi) -> None:
    async with serving(api, TRUST) as address, reaching(NOBODY, address) as client:
        await client.nodes.update_node(m.UpdateNodeRequest(node=m.Node(name="nodes/n1")))
        await client.state.supervisor()
    assert len(api.calls) == 2


async def test_a_replica_that_takes_connections_and_says_nothing_is_passed_over(
    api: OperatorApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "REACH_S", 0.2)
    with mute() as dumb:
        async with serving(api, TRUST) as address, reaching(dumb, address) as client:
            await client.nodes.update_node(m.UpdateNodeRequest(node=m.Node(name="nodes/n1")))
    assert len(api.calls) == 1


async def test_what_reads_is_asked_again_elsewhere_when_a_replica_ends_under_it(api: OperatorApi) -> None:
    api.nodes = [node_pb2.Node(name="nodes/n1")]
    async with serving(api, TRUST) as address, ending() as broken, reaching(broken, address) as client:
        answer = await client.nodes.get_node(m.GetNodeRequest(name="nodes/n1"))
    assert answer.node
    assert answer.node.name == "nodes/n1"


async def test_what_changes_is_not_made_twice_when_a_replica_ends_under_it(api: OperatorApi) -> None:
    async with serving(api, TRUST) as address, ending() as broken, reaching(broken, address) as client:
        with pytest.raises(UnreachableError, match="closed the connection"):
            await client.nodes.update_node(m.UpdateNodeRequest(node=m.Node(name="nodes/n1")))
        assert not api.calls
        await client.state.supervisor()


async def test_only_what_reads_goes_on_to_the_next_replica_once_it_was_sent() -> None:
    leaving, staying = OperatorApi(), OperatorApi()
    leaving.apply_refusal = Draining("This replica is stopping.", "Ask again.")
    async with serving(leaving, TRUST) as one, serving(staying, TRUST) as two, reaching(one, two) as client:
        with pytest.raises(ArwError) as refused:
            await client.runtimes.apply_manifest(m.ApplyManifestRequest(content=b"version = 1"))
        assert refused.value.reason == "DRAINING"
        assert not staying.calls
        await client.runtimes.plan_manifest(m.PlanManifestRequest(content=b"version = 1"))
    assert len(staying.calls) == 1


async def test_an_answer_that_is_a_refusal_is_believed(api: OperatorApi) -> None:
    other = OperatorApi()
    async with serving(api, TRUST) as one, serving(other, TRUST) as two, reaching(one, two) as client:
        with pytest.raises(ArwError, match=r"There is no nodes/x\."):
            await client.nodes.get_node(m.GetNodeRequest(name="nodes/x"))
    assert not other.calls


async def test_a_stream_that_brought_nothing_yet_begins_elsewhere(api: OperatorApi) -> None:
    api.events = [event_pb2.Event(id=7)]
    async with serving(api, TRUST) as address, ending() as broken, reaching(broken, address) as client:
        seen = [answer.event.id async for answer in client.state.watch_events(m.WatchEventsRequest()) if answer.event]
    assert seen == [7]


async def test_when_no_replica_answers_all_of_them_are_named() -> None:
    async with reaching(NOBODY, "127.0.0.1:2") as client:
        with pytest.raises(UnreachableError, match="No control plane answers at 127.0.0.1:1 or 127.0.0.1:2"):
            await client.state.supervisor()


async def test_a_chat_goes_to_the_next_replica_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REACH_S", 0.5)
    gateway = Gateway(sized("200 OK", {"choices": []}))
    async with gateway.serving() as url:
        context = replace(context_for(TRUST, NOBODY, "http://127.0.0.1:1"), http_urls=("http://127.0.0.1:2", url))
        assert await Chat(context, Trace()).reply(PROMPT, silent) == {"choices": []}
    assert gateway.requests[0][0]["host"] == url.removeprefix("http://")
    with pytest.raises(UnreachableError, match="127.0.0.1:1 or http://127.0.0.1:2"):
        await Chat(replace(context, http_urls=("http://127.0.0.1:2",)), Trace()).reply(PROMPT, silent)


def test_a_context_file_of_one_address_is_good_and_so_is_one_of_several(tmp_path: Path) -> None:
    context = context_for(TRUST, "127.0.0.1:7443")
    old = {name: value for name, value in asdict(context).items() if name not in ("grpc_addresses", "http_urls")}
    path = tmp_path / "context.json"
    path.write_text(json.dumps(old))
    assert Context.load(path) == context
    several = replace(context, grpc_addresses=("[::1]:7443", "127.0.0.1:7443"), http_urls=("http://one",))
    assert Context.load(write_context(tmp_path, several)) == several
    assert several.grpc_endpoints == (("127.0.0.1", 7443), ("::1", 7443))


@pytest.mark.parametrize("broken", [{"grpc_addresses": "one:7443"}, {"http_urls": 7}, {"grpc_addresses": ["no port"]}])
def test_addresses_that_cannot_be_used_are_a_typed_error(tmp_path: Path, broken: dict[str, object]) -> None:
    path = tmp_path / "context.json"
    path.write_text(json.dumps({**asdict(context_for(TRUST, "127.0.0.1:7443")), **broken}))
    with pytest.raises(ContextError, match="cannot be used"):
        Context.load(path)
