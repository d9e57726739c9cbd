"""The channel options, with the figures that made us choose them, as regressions for each grpcio."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from tests.fakes.patience import SLACK
from tests.fakes.raw_http2 import CONTINUATION, HEADERS, RawConnection, call_head, frame, opening
from wire.channel import OPTIONS
from wire.server import ShortVisits, make_server

METHOD = "/test.Flood/Stream"
KIB = 1024

SERVER = """
import asyncio
import grpc
import wire
from wire.server import make_server

async def flood(request, context):
    yield b"hello"
    await asyncio.Event().wait()

async def main():
    server = make_server([])
    handler = grpc.unary_stream_rpc_method_handler(flood)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Flood", {"Stream": handler}),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()

asyncio.run(main())
"""


@pytest.fixture
def server_process() -> Iterator[tuple[subprocess.Popen[str], int]]:
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.send_signal(signal.SIGCONT)
        process.kill()


@pytest.mark.timeout(60)
async def test_a_stopped_peer_is_noticed_within_the_ping_timers(
    server_process: tuple[subprocess.Popen[str], int],
) -> None:
    process, port = server_process
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        open_stream: Any = channel.unary_stream(METHOD)
        call = open_stream(b"")
        assert await call.read() == b"hello"
        process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as broken:
            await call.read()
        assert broken.value.code() is grpc.StatusCode.UNAVAILABLE
        # 10 s until the ping and 5 s for its answer; the default would take a minute more.
        assert time.monotonic() - stopped < 15 * SLACK


async def test_a_peer_that_never_reads_is_owed_little() -> None:
    accepted = 0
    stalled = asyncio.Event()

    def stall_if_still(seen: int) -> None:
        if seen == accepted:
            stalled.set()

    async def flood(request: bytes, context: Any) -> AsyncIterator[bytes]:
        nonlocal accepted
        while True:
            accepted += KIB
            asyncio.get_running_loop().call_later(0.5, stall_if_still, accepted)
            yield bytes(KIB)

    server = make_server([])
    handler: Any = grpc.unary_stream_rpc_method_handler(flood)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Flood", {"Stream": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        open_stream: Any = channel.unary_stream(METHOD)
        call = open_stream(b"")
        await call.read()
        await stalled.wait()
        call.cancel()
    await server.stop(0)
    # Measured 48 KiB; with the default bandwidth probe it is about 4 MiB.
    assert accepted < 256 * KIB


async def test_a_peer_that_acknowledges_no_settings_is_closed() -> None:
    """Until then the core grants it 16 MiB of header fields, whatever its other limits: 100 MiB of memory."""
    server = make_server([], ShortVisits(handshake=timedelta(seconds=1), idle=timedelta(minutes=1)))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    endless = frame(HEADERS, call_head(METHOD, 1)[9:], stream=1) + frame(CONTINUATION, b"\x00\x01a\x01b", stream=1)
    for said in (b"", endless):
        connection = await RawConnection.open(port)
        await connection.send(opening() + said)
        answer, closed = await connection.rest(5)
        connection.close()
        assert closed
        assert b"settings" in answer
    await server.stop(0)


SPAWNER = """
import asyncio
import subprocess
import grpc
import wire
from wire.channel import OPTIONS
from wire.server import make_server

async def echo(request, context):
    return request

async def call_for_ever(channel):
    while True:
        await channel.unary_unary("/test.Echo/Call")(b"x")

async def main():
    server = make_server([])
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Call": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        busy = asyncio.create_task(call_for_ever(channel))
        codes = []
        for _ in range(40):
            child = await asyncio.create_subprocess_exec("/bin/true", start_new_session=True)
            codes.append(await child.wait())
        busy.cancel()
    await server.stop(0)
    print(sum(code != 0 for code in codes))

asyncio.run(main())
"""


def test_f48_children_of_a_busy_grpc_process_do_not_crash() -> None:
    done = subprocess.run([sys.executable, "-c", SPAWNER], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout.strip() == "0"
