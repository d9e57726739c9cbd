"""Infer over a real channel, before the same gateway, node and engine as HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from arw.v1.inference_service_pb2 import InferRequest
from arw.v1.inference_service_pb2_grpc import InferenceServiceStub, add_InferenceServiceServicer_to_server
from control_plane.api.authorization import Caller, caller
from control_plane.api.inference_service import InferenceServicer
from control_plane.domain.admission import Presented
from control_plane.domain.ids import NodeId
from tests.fakes.relay_rig import MODEL, Rig, until
from tests.fakes.store_rows import NOON
from tests.fakes.stub_engine import tokens
from wire.credentials import Role
from wire.error_status import ErrorInterceptor, RemoteRefusal, refusal_of
from wire.handlers import Continuation, ManyAnswers, OneAnswer, wrapped
from wire.server import make_server

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
LOCAL = Caller(Role.OPERATOR, Presented(NodeId("local"), "01", NOON + timedelta(days=1), ""))


class AsLocal(grpc.aio.ServerInterceptor):
    """Every call comes from one operator."""

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return wrapped(await continuation(handler_call_details), self._one, self._many)

    def _one(self, behaviour: OneAnswer) -> OneAnswer:
        return behaviour

    def _many(self, behaviour: ManyAnswers) -> ManyAnswers:
        async def stream(request: Any, context: Any) -> Any:
            caller.set(LOCAL)
            async for message in behaviour(request, context):
                yield message

        return stream


@pytest.fixture
async def inference(unix_rig: Rig) -> AsyncIterator[Any]:
    server = make_server([ErrorInterceptor(), AsLocal()])
    add_InferenceServiceServicer_to_server(InferenceServicer(unix_rig.gateway.ask), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield InferenceServiceStub(channel)
    await server.stop(None)


def asking(path: str = CHAT, body: Any = None, **stub: Any) -> InferRequest:
    words = [{"role": "user", "content": "stub " + json.dumps(stub) if stub else "hi"}]
    asked = {"model": MODEL, "messages": words, "stream": True, "stub": stub} if body is None else body
    return InferRequest(path=path, body=json.dumps(asked).encode())


async def answered(inference: Any, request: InferRequest) -> tuple[Any, bytes]:
    """The head, and the whole body."""
    call = inference.Infer(request)
    head = (await call.read()).head
    body = b""
    while (part := await call.read()) is not grpc.aio.EOF:
        body += part.chunk
    return head, body


async def refused(inference: Any, request: InferRequest) -> RemoteRefusal:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await answered(inference, request)
    return refusal_of(raised.value)


async def test_a_stream_comes_as_over_http_and_is_counted_for_its_operator(unix_rig: Rig, inference: Any) -> None:
    head, body = await answered(inference, asking(tokens=20))
    assert (head.status, head.content_type) == (200, "text/event-stream")
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    said = "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
    assert said == "".join(tokens(20))
    assert body.endswith(b"data: [DONE]\n\n")
    exchange = await unix_rig.meter.next()
    assert (exchange.caller, exchange.complete, exchange.path) == ("local", True, CHAT)
    head, body = await answered(inference, asking(MESSAGES, tokens=3))
    assert body.endswith(b'data: {"type":"message_stop"}\n\n')


async def test_what_needs_no_engine_is_answered_too(inference: Any) -> None:
    head, body = await answered(inference, asking("/api/generate", {"model": MODEL}))
    assert (head.status, json.loads(body)["done_reason"]) == (200, "load")


@pytest.mark.parametrize(
    ("request_", "reason", "code"),
    [
        (asking(body={"model": "nope"}), "NOT_FOUND", "NOT_FOUND"),
        (asking(body=[]), "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        (asking("/v1/models"), "NOT_FOUND", "NOT_FOUND"),
        (asking("/v1/chat/completions HTTP/1.1\r\nx-arw-claim: a"), "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        (InferRequest(path=CHAT, content_type="a\r\nx: y"), "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        (asking(status=400), "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        (asking(status=429), "RATE_LIMITED", "RESOURCE_EXHAUSTED"),
        (asking(garbage=True), "UNAVAILABLE", "UNAVAILABLE"),
        (asking(tokens=10, break_after=4), "UNAVAILABLE", "UNAVAILABLE"),
    ],
    ids=["model", "body", "path", "smuggled", "header", "refused", "busy", "garbage", "broken"],
)
async def test_what_goes_wrong_is_a_typed_status(
    inference: Any, request_: InferRequest, reason: str, code: str
) -> None:
    refusal = await refused(inference, request_)
    assert (refusal.remote_reason, refusal.code.name) == (reason, code)
    assert refusal.text


async def test_a_claim_is_handed_on(unix_rig: Rig, inference: Any) -> None:
    request = asking()
    request.claim = "claims/c1"
    await answered(inference, request)
    assert unix_rig.routes.claims == ["c1"]


async def test_a_call_that_is_cancelled_ends_the_generation(unix_rig: Rig, inference: Any) -> None:
    for begun in (True, False):
        ended = unix_rig.engine.closed_in_answer
        call = inference.Infer(asking(tokens=10_000, interval_ms=2) if begun else asking(delay_ms=60_000))
        if begun:
            await call.read()
        else:
            await until(lambda: len(unix_rig.engine.requests) == 2)
        call.cancel()
        await until(lambda ended=ended: unix_rig.engine.closed_in_answer == ended + 1)  # type: ignore[misc]
    assert unix_rig.routes.given == 0


async def test_who_does_not_read_holds_the_engine_back(unix_rig: Rig, inference: Any) -> None:
    mib = 1024 * 1024
    call = inference.Infer(asking(flood_mib=96))
    await call.read()
    engine = unix_rig.engine.connections[0]
    before = -1
    while before != engine.sent:
        before = engine.sent
        await asyncio.sleep(0.1)
    assert before < 48 * mib
    received = 0
    while (part := await call.read()) is not grpc.aio.EOF:
        received += len(part.chunk)
    assert received == 96 * mib
