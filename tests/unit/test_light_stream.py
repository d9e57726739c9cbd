"""The benchmarks' own end of a call, at a real gRPC server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from benchmarks.light_stream import LightStream
from tests.fakes.certificates import Issuer
from wire.credentials import client_context
from wire.server import make_server

METHOD = "/arw.test.Echo/Connect"


async def echo(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


@asynccontextmanager
async def serving(issuer: Issuer) -> AsyncIterator[str]:
    server = make_server([])
    handler: Any = grpc.stream_stream_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("arw.test.Echo", {"Connect": handler}),))
    credentials = grpc.ssl_server_credentials([issuer.server()], issuer.ca_pem, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def tls(folder: Path, issuer: Issuer, trusted: Issuer) -> ssl.SSLContext:
    """Of a node with this issuer's certificate that trusts the other."""
    key, chain = issuer.node("n1")
    for name, content in {"key": key, "chain": chain, "ca": trusted.ca_pem}.items():
        (folder / name).write_bytes(content)
    return client_context(folder / "chain", folder / "key", folder / "ca")


async def test_every_message_comes_back_whole_and_in_order_however_large(tmp_path: Path) -> None:
    issuer = Issuer.make()
    said = [b"", b"1", b"2" * 100, *(bytes([n]) * 9_000 for n in range(30)), b"3" * 300_000, b"4"]
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    async with serving(issuer) as address:
        stream = await LightStream.open(address, tls(tmp_path, issuer, issuer), METHOD, heard.put_nowait)
        for message in said:
            stream.say(message)
        assert [await heard.get() for _ in said] == said
        assert not stream.ended.done()
        stream.finish()
        await stream.ended
        stream.close()


async def test_a_stream_is_over_when_its_server_is(tmp_path: Path) -> None:
    issuer = Issuer.make()
    async with serving(issuer) as address:
        stream = await LightStream.open(address, tls(tmp_path, issuer, issuer), METHOD, lambda _: None)
    await stream.ended
    stream.close()


async def test_a_server_that_nobody_vouches_for_is_not_spoken_to(tmp_path: Path) -> None:
    issuer = Issuer.make()
    async with serving(issuer) as address:
        with pytest.raises(ssl.SSLError):
            await LightStream.open(address, tls(tmp_path, issuer, Issuer.make()), METHOD, lambda _: None)


async def test_a_stranger_is_shut_out(tmp_path: Path) -> None:
    issuer = Issuer.make()
    async with serving(issuer) as address:
        stream = await LightStream.open(address, tls(tmp_path, Issuer.make(), issuer), METHOD, lambda _: None)
        await stream.ended
        stream.close()
