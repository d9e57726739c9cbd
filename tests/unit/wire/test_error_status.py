from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc

from arw.v1 import problem_pb2
from wire.call_log import CallLogInterceptor
from wire.channel import OPTIONS
from wire.error_status import STATUS, ErrorInterceptor, RemoteRefusal, refusal_of, status_of
from wire.refusal import Refusal
from wire.server import make_server


class Missing(Refusal):
    reason = "NOT_FOUND"


class Away(Refusal):
    reason = "STORAGE_UNAVAILABLE"


class Answering(health_pb2_grpc.HealthServicer):
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - grpc's name
        raise self.error

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        yield health_pb2.HealthCheckResponse()
        raise self.error


async def refused(error: Exception, *, stream: bool = False) -> RemoteRefusal:
    server = make_server([CallLogInterceptor(), ErrorInterceptor()])
    health_pb2_grpc.add_HealthServicer_to_server(Answering(error), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                if stream:
                    async for _ in stub.Watch(health_pb2.HealthCheckRequest()):
                        pass
                else:
                    await stub.Check(health_pb2.HealthCheckRequest())
            return refusal_of(raised.value)
    finally:
        await server.stop(0)


def test_every_reason_of_the_contract_has_a_status_and_no_other() -> None:
    names = {name.removeprefix("REASON_") for name in problem_pb2.Reason.DESCRIPTOR.values_by_name} - {"UNSPECIFIED"}
    assert names == set(STATUS)


def test_what_passes_by_itself_says_when_to_ask_again() -> None:
    info = RetryInfo()
    unpacked = [detail.Unpack(info) for detail in status_of(Away("The database is away.", "Wait.")).details]
    assert unpacked == [False, False, True]
    assert info.retry_delay.seconds == 1
    assert len(status_of(Missing("No runtime 'x'.", "Look.")).details) == 2


def test_a_refusal_that_knows_when_it_passes_says_so_itself() -> None:
    refusal, info = Away("Too many at once.", "Wait."), RetryInfo()
    refusal.passes_in = timedelta(seconds=7, milliseconds=900)
    assert [detail.Unpack(info) for detail in status_of(refusal).details] == [False, False, True]
    assert info.retry_delay.seconds == 7


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_arrives_with_reason_text_remedy_and_metadata(stream: bool) -> None:
    error = await refused(Missing("No runtime 'x'.", "List them with `arwctl runtime list`.", id="x"), stream=stream)
    assert error.code is grpc.StatusCode.NOT_FOUND
    assert error.remote_reason == "NOT_FOUND"
    assert error.text == "No runtime 'x'."
    assert error.remedy == "List them with `arwctl runtime list`."
    assert error.metadata == {"id": "x"}


async def test_an_unknown_exception_tells_the_peer_nothing_of_itself() -> None:
    error = await refused(RuntimeError("secret path /home/me"))
    assert error.code is grpc.StatusCode.INTERNAL
    assert error.remote_reason == "INTERNAL"
    assert "secret" not in str(error)
