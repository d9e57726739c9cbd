from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import GatewaySettings
from node_agent.relay.link import RelayLink
from tests.fakes.data_path import TOKEN, Certificates, Replica
from tests.fakes.deaf_watchers import small_socket
from tests.fakes.http_talk import Reply, request, talking
from tests.fakes.relay_rig import EPOCH, NODE, Rig, rigged, until
from wire.byte_pump import HIGH_WATER_BYTES
from wire.credentials import CONTROL_PLANE_NAME, Role
from wire.http_head import Limits

CHAT = "/v1/chat/completions"


@pytest.fixture
async def strict(short_folder: Path) -> AsyncIterator[Rig]:
    settings = GatewaySettings(
        limits=Limits(body_bytes=100_000),
        head_timeout=0.2,
        body_timeout=0.2,
        first_frame_timeout=0.2,
        queue_timeout=0.2,
        first_byte_timeout=0.2,
    )
    async with rigged(short_folder, unix=True, settings=settings) as made:
        yield made


@pytest.fixture
async def unread(short_folder: Path) -> AsyncIterator[Rig]:
    """One that soon gives up who reads nothing."""
    async with rigged(short_folder, unix=True, settings=GatewaySettings(stalled_timeout=2)) as made:
        yield made


async def answer(port: int, data: bytes) -> Reply:
    async with talking(port) as talk:
        talk.send(data)
        reply = await talk.reply()
        if reply.headers.get("connection") == "close":
            assert await talk.closed()
        return reply


async def test_an_unknown_model_is_told_what_there_is(unix_rig: Rig) -> None:
    reply = await answer(unix_rig.port, request("POST", CHAT, {"model": "nope"}, authorization=TOKEN))
    assert (reply.status, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert "tiny" in reply.json()["error"]["remedy"]
    assert set(reply.json()["error"]) == {"message", "type", "code", "param", "remedy"}
    assert reply.headers["x-request-id"]


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic b3BzOnNlY3JldA"}])
async def test_without_a_good_key_nothing_is_served(unix_rig: Rig, headers: dict[str, str]) -> None:
    for method, path, body in (("POST", CHAT, {"model": "tiny"}), ("GET", "/v1/models", None)):
        reply = await answer(unix_rig.port, request(method, path, body, **headers))
        assert (reply.status, reply.headers["www-authenticate"]) == (401, 'Bearer realm="arw"')
        assert reply.json()["error"]["type"] == "authentication_error"


async def test_a_body_without_a_key_is_refused_before_it_is_sent(strict: Rig) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\ncontent-length: 90000\r\nexpect: 100-continue\r\n\r\n"
    assert (await answer(strict.port, head.encode())).status == 401


async def test_a_client_may_wait_to_be_asked_for_its_body(unix_rig: Rig) -> None:
    body = json.dumps({"model": "tiny"}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nauthorization: {TOKEN}\r\nexpect: 100-continue\r\ncontent-length: {len(body)}\r\n"
    async with talking(unix_rig.port) as talk:
        talk.send(head.encode() + b"\r\n")
        assert await talk.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        talk.send(body)
        assert (await talk.reply()).status == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /v1/models HTTP/1.1\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /v1/models?" + b"y" * 70_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET /v1/models HTTP/1.1\r\n" + b"x: y\r\n" * 101 + b"\r\n", 431),
        (
            b"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer ops.secret\r\ncontent-length: 100001\r\n\r\n",
            413,
        ),
        (b"POST /v1/embeddings HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"CONNECT example.org:443 HTTP/1.1\r\n\r\n", 405),
        (b"PUT /v1/models HTTP/1.1\r\nauthorization: Bearer ops.secret\r\n\r\n", 405),
        (b"GET /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer ops.secret\r\n\r\n", 405),
        (b"GET /v1/other HTTP/1.1\r\nauthorization: Bearer ops.secret\r\n\r\n", 404),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\r\n\r\n\x00\x01 nonsense\r\n\r\n", 400),
    ],
)
async def test_what_is_no_acceptable_request_is_refused_with_its_status(strict: Rig, head: bytes, status: int) -> None:
    assert (await answer(strict.port, head)).status == status


async def test_a_chunked_body_is_cut_off_at_the_limit(strict: Rig) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nauthorization: {TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    piece = b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"
    assert (await answer(strict.port, head + piece * 2)).status == 413


@pytest.mark.parametrize(
    "begun", [b"GET /v1/models HT", f"POST {CHAT} HTTP/1.1\r\nauthorization: {TOKEN}\r\n".encode()]
)
async def test_a_head_that_drips_is_not_waited_for(strict: Rig, begun: bytes) -> None:
    async with talking(strict.port) as talk:
        for byte in begun:
            talk.send(bytes([byte]))
        assert (await talk.reply()).status == 408
        assert await talk.closed()


async def test_a_body_that_drips_is_not_waited_for(strict: Rig) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nauthorization: {TOKEN}\r\ncontent-length: 100\r\n\r\n{{".encode()
    assert (await answer(strict.port, head)).status == 408


async def test_who_asks_on_and_on_and_reads_no_answer_is_owed_little_and_closed(unread: Rig) -> None:
    """A refusal is many times as long as what asks for it, without a key even."""
    with small_socket(unread.port) as peer:
        peer.setblocking(False)
        await until(lambda: bool(unread.gateway._clients))
        (client,) = unread.gateway._clients
        asking = asyncio.ensure_future(
            asyncio.get_running_loop().sock_sendall(peer, request("GET", "/v1/models") * 20_000)
        )
        most = 0
        while unread.gateway._clients:
            most = max(most, client.transport.get_write_buffer_size())
            await asyncio.sleep(0.01)
        assert 0 < most < 2 * HIGH_WATER_BYTES
        # All of it was taken, or the rest was cut off with the connection.
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_who_reads_many_answers_late_gets_them_all_in_order(unix_rig: Rig) -> None:
    paths = [f"/v1/nothing-{number}" for number in range(3000)]
    async with talking(unix_rig.port) as talk:
        talk.reader._transport.pause_reading()  # type: ignore[attr-defined]
        talk.send(b"".join(request("GET", path, authorization=TOKEN) for path in paths))
        await asyncio.sleep(0.2)
        talk.reader._transport.resume_reading()  # type: ignore[attr-defined]
        for path in paths:
            assert path in (await talk.reply()).body.decode()


async def test_a_connection_that_says_nothing_is_closed(strict: Rig) -> None:
    async with talking(strict.port) as talk:
        assert await talk.closed()


async def test_an_offered_upgrade_is_declined_by_going_on(unix_rig: Rig) -> None:
    headers = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "authorization": TOKEN}
    reply = await answer(unix_rig.port, request("POST", CHAT, {"model": "tiny"}, **headers))
    assert reply.status == 200
    assert unix_rig.engine.requests[0].header(b"upgrade") is None


async def test_an_engine_that_does_not_begin_in_time_is_a_gateway_timeout(strict: Rig) -> None:
    body = {"model": "tiny", "stub": {"delay_ms": 60_000}}
    reply = await answer(strict.port, request("POST", CHAT, body, authorization=TOKEN))
    assert (reply.status, reply.json()["error"]["code"]) == (504, "engine_silent")
    await until(lambda: strict.engine.closed_in_answer == 1)


async def test_a_request_for_a_node_without_connections_waits_and_is_then_refused(strict: Rig) -> None:
    strict.gate.sessions.clear()
    strict.gateway.drop_node(NODE)
    reply = await answer(strict.port, request("POST", CHAT, {"model": "tiny"}, authorization=TOKEN))
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    "frame",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00" * 300,
        b"ARW-RELAY/1 box 99\r\n",
        b"ARW-RELAY/1 other 3\r\n",
        b"ARW-RELAY/2 box 3\r\n",
    ],
)
async def test_a_relay_connection_that_does_not_introduce_itself_well_is_closed(strict: Rig, frame: bytes) -> None:
    before = strict.gateway.parked(NODE)
    reader, writer = await asyncio.open_unix_connection(str(strict.relay_socket))
    writer.write(frame)
    assert await reader.read() == b""
    writer.close()
    assert strict.gateway.parked(NODE) == before


async def test_a_relay_connection_that_says_nothing_is_closed(strict: Rig) -> None:
    reader, writer = await asyncio.open_unix_connection(str(strict.relay_socket))
    assert await reader.read() == b""
    writer.close()


async def test_a_parked_connection_that_speaks_unasked_is_closed(unix_rig: Rig) -> None:
    reader, writer = await asyncio.open_unix_connection(str(unix_rig.relay_socket))
    writer.write(f"ARW-RELAY/1 {NODE} {EPOCH}\r\n".encode())
    await unix_rig.parked(5)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert await reader.read() == b""
    writer.close()


async def test_the_relay_port_takes_no_one_without_a_certificate_of_its_node(unix_rig: Rig, tmp_path: Path) -> None:
    relay = unix_rig.bound.relay
    other, _ = unix_rig.certificates.node("other")
    operator, _ = unix_rig.certificates.node(NODE, Role.OPERATOR)
    replaced, _ = unix_rig.certificates.node(NODE)
    foreign, _ = Certificates(tmp_path).node(NODE)
    foreign().load_verify_locations(unix_rig.certificates.ca_path)
    for context in (other(), operator(), replaced(), foreign()):
        assert await _refused(relay, context)
    async with talking(relay) as plain:
        plain.send(bytes(range(256)) * 2)
        assert not (await plain.reader.read()).startswith(b"HTTP")


async def _refused(port: int, context: Any) -> bool:
    async with talking(port, context, CONTROL_PLANE_NAME) as talk:
        talk.send(f"ARW-RELAY/1 {NODE} {EPOCH}\r\n".encode())
        return await talk.closed()


async def test_a_link_whose_session_ended_backs_off_and_returns_with_the_next(unix_rig: Rig) -> None:
    unix_rig.gate.sessions[NODE] = (EPOCH + 1, unix_rig.gate.sessions[NODE][1])
    unix_rig.gateway.drop_node(NODE)
    await asyncio.sleep(0.05)
    assert unix_rig.gateway.parked(NODE) == 0
    unix_rig.configure(EPOCH + 1)
    await unix_rig.parked(2)


async def test_a_socket_that_is_not_ours_is_not_dialled(unix_rig: Rig, tmp_path: Path) -> None:
    plain = tmp_path / "file"
    plain.write_text("no socket")
    tls, serial = unix_rig.certificates.node("second")
    unix_rig.gate.sessions["second"] = (1, serial)
    link = RelayLink(unix_rig.doors, "second", tls)
    link.configure(1, [Replica(f"127.0.0.1:{unix_rig.bound.relay}", str(plain))], 2)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(link.run())
        await until(lambda: unix_rig.gateway.parked("second") == 2)
        running.cancel()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can pose as somebody else")
async def test_another_user_is_refused_even_where_the_socket_lets_him_in(strict: Rig) -> None:
    strict.relay_socket.parent.chmod(0o755)
    strict.relay_socket.chmod(0o666)
    stranger = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.seteuid(65534)
    try:
        stranger.connect(str(strict.relay_socket))
    finally:
        os.seteuid(0)
    reader, writer = await asyncio.open_unix_connection(sock=stranger)
    before = strict.gateway.parked(NODE)
    writer.write(f"ARW-RELAY/1 {NODE} {EPOCH}\r\n".encode())
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    assert strict.gateway.parked(NODE) == before


async def test_sockets_belong_to_their_user_alone(unix_rig: Rig) -> None:
    assert unix_rig.relay_socket.stat().st_mode & 0o777 == 0o600
