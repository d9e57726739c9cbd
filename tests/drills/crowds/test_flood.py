"""One client that sends as much as it can."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import grpc
import pytest

from arw.v1.runtime_service_pb2_grpc import RuntimeServiceStub
from tests.fakes.deaf_watchers import operator_channel
from tests.fakes.lone_plane import LonePlane

pytestmark = [pytest.mark.alone, pytest.mark.timeout(90)]
CONNECTIONS, CALLS = 4, 64
LARGE = 300
"""Runtimes in each manifest: a fifth of a second of the one writer."""
LASTS_S = 6.0
WAIT_S = 5.0
"""Of others at most; without turns they wait for all that the flood has in hand, which is a minute."""


async def flood(plane: LonePlane, stub: RuntimeServiceStub) -> None:
    while True:
        with suppress(grpc.aio.AioRpcError):
            await plane.declare(LARGE, 1, stub)


async def test_a_flood_of_large_manifests_waits_for_itself_and_others_are_served(plane: LonePlane) -> None:
    await plane.declare(LARGE, 1)
    async with AsyncExitStack() as stack:
        file = plane.folder / "context.json"
        channels = [await stack.enter_async_context(operator_channel(file)) for _ in range(CONNECTIONS)]
        floods = [
            asyncio.ensure_future(flood(plane, RuntimeServiceStub(channel)))
            for channel in channels
            for _ in range(CALLS)
        ]
        await asyncio.sleep(1)
        async with plane.with_others():
            await asyncio.sleep(LASTS_S)
        for one in floods:
            one.cancel()
        await asyncio.gather(*floods, return_exceptions=True)
    assert max(plane.waits) < WAIT_S
    assert max(plane.writes) < WAIT_S
    assert len(plane.writes) > 2
