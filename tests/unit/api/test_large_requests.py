from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import grpc

from arw.v1.runtime_service_pb2 import ApplyManifestRequest, ApplyManifestResponse
from control_plane.api.large_requests import LARGE_BYTES, LargeRequests

SMALL, LARGE = (ApplyManifestRequest(content=bytes(size)) for size in (10, LARGE_BYTES))


@dataclass(frozen=True)
class Call:
    """One of this connection."""

    connection: str

    def peer(self) -> str:
        return self.connection


@dataclass
class Desk:
    """Takes calls in hand and finishes none before it is told to."""

    in_hand: int = 0
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, request: Any, context: Any) -> ApplyManifestResponse:
        self.in_hand += 1
        await self.may_end.wait()
        return ApplyManifestResponse()

    async def in_hand_of(self, *calls: tuple[ApplyManifestRequest, str]) -> int:
        """How many of these it has in hand at once; then it ends them all."""

        async def continuation(details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(self.serve)

        details: Any = None
        answer = (await LargeRequests().intercept_service(continuation, details)).unary_unary
        async with asyncio.TaskGroup() as group:
            for request, connection in calls:
                group.create_task(answer(request, Call(connection)))
            for _ in range(5):
                await asyncio.sleep(0)
            found = self.in_hand
            self.may_end.set()
        assert self.in_hand == len(calls), "each has its turn"
        return found


async def test_of_one_connection_one_large_request_is_in_hand() -> None:
    assert await Desk().in_hand_of((LARGE, "a"), (LARGE, "a"), (LARGE, "a")) == 1


async def test_small_requests_and_other_connections_wait_for_none() -> None:
    assert await Desk().in_hand_of((LARGE, "a"), (LARGE, "b"), (SMALL, "a"), (SMALL, "a")) == 4
