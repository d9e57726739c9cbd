from __future__ import annotations

import datetime as dt
import re
import socket
from pathlib import Path

import pytest

from arw.v1 import node_pb2
from arw_client import ArwError, Context, ContextError, TimedOutError, UnreachableError, connect
from arw_client import messages as m
from tests.fakes.operator_api import OperatorApi, pki, serving
from tests.unit.arwctl.conftest import TRUST, context_for


async def test_a_call_carries_a_trace_and_a_deadline(api: OperatorApi, context: Context) -> None:
    async with connect(context, timeout_s=5) as client:
        await client.state.supervisor()
        await client.state.matrix()
    traces = [re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01", each["traceparent"]) for each in api.metadata]
    assert all(traces)
    assert len({trace[1] for trace in traces if trace}) == 1, "one trace for the whole client"
    assert len({trace[2] for trace in traces if trace}) == 2, "a span for each call"
    assert all(0 < left <= 5 for left in api.time_left_s)


async def test_a_refusal_keeps_its_reason_text_remedy_and_metadata(context: Context) -> None:
    async with connect(context) as client:
        with pytest.raises(ArwError) as raised:
            await client.nodes.get_node(m.GetNodeRequest(name="nodes/x"))
    error = raised.value
    assert error.reason == "NOT_FOUND"
    assert error.text == "There is no nodes/x."
    assert error.remedy == "See `arwctl nodes list`."
    assert error.metadata == {"name": "nodes/x"}


async def test_every_page_is_read(api: OperatorApi, context: Context) -> None:
    api.nodes = [node_pb2.Node(name=f"nodes/n{number}") for number in range(5)]
    async with connect(context) as client:
        names = [node.name async for node in client.nodes.each()]
    assert names == [f"nodes/n{number}" for number in range(5)]
    assert [call.page_token for call in api.calls] == ["", "2", "4"]


async def test_a_call_that_is_not_answered_in_time_says_so(api: OperatorApi, context: Context) -> None:
    api.delay_s = 5
    async with connect(context, timeout_s=0.2) as client:
        with pytest.raises(TimedOutError, match="did not answer in time"):
            await client.state.supervisor()


async def test_a_method_that_an_older_control_plane_lacks_is_named_as_such(context: Context) -> None:
    async with connect(context) as client:
        with pytest.raises(ArwError, match="older") as raised:
            await client.nodes.revoke_node(m.RevokeNodeRequest(name="nodes/x"))
    assert raised.value.reason == "UNIMPLEMENTED"


async def test_where_nothing_listens_the_remedy_is_to_start_it() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    async with connect(context_for(TRUST, address)) as client:
        with pytest.raises(UnreachableError, match="No control plane answers") as raised:
            await client.state.supervisor()
    assert "arwctl up" in raised.value.remedy


async def test_a_server_of_another_ca_is_not_trusted(api: OperatorApi) -> None:
    async with serving(api, pki()) as address, connect(context_for(TRUST, address)) as client:
        with pytest.raises(UnreachableError, match="TLS handshake") as raised:
            await client.state.supervisor()
    assert "another control plane" in raised.value.remedy
    assert api.calls == []


async def test_an_expired_certificate_is_named_with_its_end(api: OperatorApi) -> None:
    trust = pki(operator_life=-dt.timedelta(minutes=5))
    async with serving(api, trust) as address, connect(context_for(trust, address)) as client:
        with pytest.raises(UnreachableError, match="certificate in the context file ended at") as raised:
            await client.state.supervisor()
    assert "arwctl up" in raised.value.remedy
    assert api.calls == []


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"trust_domain": "x"}', "\x00"])
def test_a_context_file_that_cannot_be_read_is_a_typed_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "context.json"
    path.write_text(text)
    with pytest.raises(ContextError, match="cannot be used") as raised:
        Context.load(path)
    assert "arwctl up" in raised.value.remedy


def test_a_missing_context_file_names_the_ways_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match="no context file") as raised:
        Context.load(tmp_path / "context.json")
    assert "--context" in raised.value.remedy


async def test_a_broken_key_in_the_context_is_a_typed_error(context: Context) -> None:
    broken = Context(
        context.trust_domain, context.grpc_address, "", context.ca_pem, context.certificate_pem, "nonsense", ""
    )
    with pytest.raises(ContextError, match="certificate or key"):
        async with connect(broken):
            pass


def test_secrets_stay_out_of_a_printed_context(context: Context) -> None:
    assert "PRIVATE KEY" not in repr(context)
    assert "id.secret" not in repr(context)
