from __future__ import annotations

import grpc
import pytest

from arw.v1.inference_service_pb2 import InferRequest
from arw.v1.inference_service_pb2_grpc import InferenceServiceStub
from tests.fakes.running_plane import RunningPlane
from wire.error_status import refusal_of

CHAT = InferRequest(path="/v1/chat/completions", body=b'{"model": "nope"}')


async def test_an_operator_is_answered_by_the_gateway_and_a_node_by_nobody(plane: RunningPlane) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await InferenceServiceStub(plane.channel).Infer(CHAT).read()
    assert "No runtime or model is named 'nope'." in refusal_of(raised.value).text
    async with (await plane.join("n1")).channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await InferenceServiceStub(channel).Infer(CHAT).read()
    assert refusal_of(raised.value).remote_reason == "PERMISSION_DENIED"
