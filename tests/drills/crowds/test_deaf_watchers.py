"""A thousand clients that ask for streams and read nothing."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager

import grpc
import pytest

from arw.v1.runtime_service_pb2 import WatchRuntimesRequest
from tests.fakes.deaf_watchers import DeafCalls, deaf_socket, operator_tls
from tests.fakes.lone_plane import LonePlane
from tests.fakes.patience import SLACK
from tests.fakes.processes import until
from wire.error_status import refusal_of

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120)]
WATCHERS = 1000
CONNECTIONS = 16
"""Each may hold 64 calls."""
MOST_EACH_KIB = 200
KEPT_MIB = 32
"""What a second crowd may add to what the first one cost: the heap is not handed back whole."""
READ_S = 2.0 * SLACK
"""What others wait at most while the crowd comes."""
BOUND_S = 3.0
"""How long the test profile lets a client take nothing; else it is 30 s."""


async def eventually(holds: Callable[[], bool], within: float) -> None:
    await asyncio.to_thread(until, holds, within)


async def crowd_of_calls(plane: LonePlane) -> None:
    """Until every call of it was ended; then they leave."""
    tls = operator_tls(plane.folder / "context.json", plane.folder)
    calls = [await DeafCalls.open(plane.ports["grpc"], tls) for _ in range(CONNECTIONS)]
    before, each = plane.cut(), WATCHERS // CONNECTIONS
    async with asyncio.TaskGroup() as group:
        lives = [group.create_task(one.live()) for one in calls]
        for one in calls:
            await one.call("/arw.v1.RuntimeService/WatchRuntimes", WatchRuntimesRequest(), each)
        await eventually(lambda: plane.cut() - before == each * CONNECTIONS, 30)
        for one, life in zip(calls, lives, strict=True):
            one.connection.close()
            life.cancel()


@asynccontextmanager
async def crowd_of_sockets(plane: LonePlane, path: str) -> AsyncIterator[Iterator[socket.socket]]:
    token = json.loads((plane.folder / "context.json").read_bytes())["token"]
    with ExitStack() as sockets:
        yield (sockets.enter_context(deaf_socket(plane.ports["http"], path, token)) for _ in range(WATCHERS))


async def test_a_thousand_calls_that_are_never_read_are_ended_and_cost_little(plane: LonePlane) -> None:
    await plane.declare(20, 63)
    sizes = [plane.rss_kib]
    async with plane.with_others():
        for _ in range(2):
            await crowd_of_calls(plane)
            sizes.append(plane.rss_kib)
    before, first, second = sizes
    assert first - before < WATCHERS * MOST_EACH_KIB, sizes
    assert second - first < KEPT_MIB * 1024, sizes
    assert max(plane.waits) < READ_S
    assert len(plane.waits) > 10


async def test_who_reads_at_last_learns_why_the_stream_ended(plane: LonePlane) -> None:
    await plane.declare(20, 63)
    call = plane.runtimes.WatchRuntimes(WatchRuntimesRequest())
    await call.read()
    await eventually(lambda: plane.cut() == 1, BOUND_S * 4)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while await call.read() is not grpc.aio.EOF:
            pass
    refusal = refusal_of(caught.value)
    assert refusal.remote_reason == "UNAVAILABLE"
    assert refusal.text == "Nothing of this stream was read for 3 s."


async def test_a_thousand_event_streams_over_http_that_are_never_read_are_ended_and_cost_little(
    plane: LonePlane,
) -> None:
    for _ in range(6):
        await plane.declare(300, 1)
    sizes, descriptors = [plane.rss_kib], plane.seen.num_fds()
    async with plane.with_others():
        for _ in range(2):
            async with crowd_of_sockets(plane, "/events?after=0") as sockets:
                for _socket in sockets:
                    await asyncio.sleep(0)
                await eventually(lambda: plane.seen.num_fds() > WATCHERS, 10)
                await eventually(lambda: plane.seen.num_fds() < descriptors + 100, 30)
            sizes.append(plane.rss_kib)
    before, first, second = sizes
    assert first - before < WATCHERS * MOST_EACH_KIB, sizes
    assert second - first < KEPT_MIB * 1024, sizes
    assert max(plane.waits) < READ_S
    assert len(plane.waits) > 10
