"""Bytes that no honest peer sends, at every door of a real control plane: it lives, stays small, answers others."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from arw.v1.agent_service_pb2 import ConnectRequest
from arw.v1.enrollment_service_pb2 import DiagnoseCredentialRequest
from arw.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from arw.v1.instance_pb2 import Instance
from arw.v1.node_service_pb2 import ListNodesRequest
from arw.v1.node_service_pb2_grpc import NodeServiceStub
from arw.v1.session_pb2 import AgentMessage, ObservedReport
from control_plane.settings import Paths
from tests.fakes.patience import SLACK
from tests.fakes.proxied_site import ProxiedSite
from tests.fakes.raw_http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    RST_STREAM,
    RawConnection,
    call_head,
    frame,
    grpc_message,
    opening,
)
from wire.credentials import CONTROL_PLANE_NAME

pytestmark = pytest.mark.timeout(120)
MIB = 1024 * 1024
DIAGNOSE = "/arw.v1.EnrollmentService/DiagnoseCredential"
CONNECT = "/arw.v1.AgentService/Connect"
MOST_GROWTH = 96
"""MiB by which the control plane's peak may exceed its size before."""
TURNED_OUT = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
"""How a stranger that says too much ends: refused, or cut before it heard the refusal."""
MORE_HEAD = frame(CONTINUATION, b"\x00\x01a\x01b" * 2700, stream=1)
Door = Callable[[], Awaitable[RawConnection]]


@dataclass(frozen=True, slots=True)
class Doors:
    """Every way in, and with TLS both before and inside it."""

    site: ProxiedSite
    bare: ssl.SSLContext
    node: ssl.SSLContext

    def all(self) -> dict[str, Door]:
        ports = self.site.ports
        tcp: dict[str, Door] = {name: self._tcp(port, None) for name, port in ports.items()}
        inside = {
            "grpc, inside": self._tcp(ports["grpc"], self.node),
            "relay, inside": self._tcp(ports["relay"], self.node),
            "enrollment, inside": self._tcp(ports["enrollment"], self.bare),
        }
        sockets = {path.name: self._unix(path) for path in Paths(self.site.folder).runtime.glob("*.sock")}
        assert sockets.keys() == {"relay.sock", "http.sock", "admin.sock", "enrollment.sock"}
        return {**tcp, **inside, **sockets}

    def _tcp(self, port: int, tls: ssl.SSLContext | None) -> Door:
        return lambda: RawConnection.open(port, tls)

    def _unix(self, path: Path) -> Door:
        return lambda: RawConnection.open_unix(str(path))


@pytest.fixture
def doors(site: ProxiedSite) -> Doors:
    bare, node = (ssl.create_default_context(cadata=site.ca_pem.decode()) for _ in range(2))
    home = site.folder / "node_agent"
    node.load_cert_chain(home / "node.pem", home / "node.key")
    for context in (bare, node):
        context.set_alpn_protocols(["h2"])
    return Doors(site, bare, node)


class Watched:
    """A process whose peak size is measured from now on."""

    def __init__(self, pid: int) -> None:
        self.process = psutil.Process(pid)
        self._proc = Path(f"/proc/{pid}")
        (self._proc / "clear_refs").write_text("5")
        self.before = self.peak()

    def peak(self) -> float:
        """MiB."""
        lines = (self._proc / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    @property
    def growth(self) -> float:
        return self.peak() - self.before


@asynccontextmanager
async def unharmed(site: ProxiedSite, most_growth: float = MOST_GROWTH) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Whatever happens within: the process lives, stays small, and others are answered; call it for a check between."""
    assert site.plane.process
    watched = Watched(site.plane.process.pid)
    async with site.operator() as channel:

        async def others_are_answered() -> None:
            await NodeServiceStub(channel).ListNodes(ListNodesRequest(), timeout=2)

        await others_are_answered()
        yield others_are_answered
        await others_are_answered()
    assert site.plane.process.poll() is None
    assert watched.growth < most_growth, f"{watched.growth} MiB more"


def shots(seed: int) -> dict[str, bytes]:
    chance = random.Random(seed)  # noqa: S311 - repeatable garbage
    call = call_head(DIAGNOSE, 1)
    return {
        "nothing": b"",
        "random": chance.randbytes(64 * 1024),
        "five MiB of nothing": bytes(5 * MIB),
        "a long line": b"GET /" + b"a" * 5 * MIB,
        "many headers": b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 300_000,
        "a huge length": b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "two lengths": b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        "endless chunks": b"POST /v1/embeddings HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
        + b"1\r\nx\r\n" * 100_000,
        "a record of TLS": b"\x16\x03\x01\xff\xff" + chance.randbytes(70_000),
        "a short hello": b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + chance.randbytes(20),
        "frames of chance": opening() + b"".join(frame(chance.randrange(12), chance.randbytes(40)) for _ in range(500)),
        "a frame that lies": opening() + frame(HEADERS, b"x", flags=END_HEADERS, stream=1, length=2**24 - 1),
        "a bomb of headers": opening() + call[:9] + b"\x40" + b"\x7f\xff\xff\xff\xff\x0f",
        "an endless head": opening() + frame(HEADERS, call[9:], stream=1) + MORE_HEAD * 16,
        "a message that lies": opening() + call + frame(DATA, grpc_message(b"x", length=2**32 - 1), stream=1),
        "a compressed nothing": opening() + call + frame(DATA, grpc_message(b"\xff" * 100, compressed=1), stream=1),
        "no message of ours": opening() + call + frame(DATA, grpc_message(chance.randbytes(1000)), stream=1),
        "deep groups": opening() + call + frame(DATA, grpc_message(b"\x0b" * 15_000), stream=1),
        "a false introduction": b"ARW-RELAY/1 nodes/n1 1\r\n" + chance.randbytes(10_000),
        "an endless introduction": b"ARW-RELAY/1 " + b"n" * MIB,
    }


async def test_t25_garbage_at_every_door_hurts_nobody(site: ProxiedSite, doors: Doors) -> None:
    async def shoot(door: Door, shot: bytes) -> None:
        try:
            connection = await door()
        except OSError:
            return
        await connection.send(shot, 1)
        answer, _ = await connection.rest(0.3)
        assert b" 200 " not in answer[:20]
        connection.close()

    async with unharmed(site) as others_are_answered:
        for number, door in enumerate(doors.all().values()):
            await asyncio.gather(*(shoot(door, shot) for shot in shots(number).values()))
            await others_are_answered()


def unlimited(site: ProxiedSite, port: str, credentials: grpc.ChannelCredentials) -> grpc.aio.Channel:
    options = (("grpc.max_send_message_length", -1), ("grpc.ssl_target_name_override", CONTROL_PLANE_NAME))
    return grpc.aio.secure_channel(f"127.0.0.1:{site.ports[port]}", credentials, options)


def as_node(site: ProxiedSite) -> grpc.ChannelCredentials:
    home = site.folder / "node_agent"
    return grpc.ssl_channel_credentials(site.ca_pem, (home / "node.key").read_bytes(), (home / "node.pem").read_bytes())


async def code_of(call: Awaitable[Any]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_t25_a_message_over_the_limit_is_refused_before_it_is_held(site: ProxiedSite) -> None:
    instance = Instance(name="nodes/n1/instances/r", summary="x" * 5 * MIB)
    message = AgentMessage(seq=1, observed_report=ObservedReport(observed_seq=1, instances=[instance]))
    big = DiagnoseCredentialRequest(certificate=bytes(5 * MIB))
    async with (
        unharmed(site, 32),
        unlimited(site, "grpc", as_node(site)) as node,
        unlimited(site, "enrollment", grpc.ssl_channel_credentials(site.ca_pem)) as nobody,
    ):
        for _ in range(5):
            connect: Any = node.stream_stream(CONNECT, request_serializer=ConnectRequest.SerializeToString)
            call = connect()
            await call.write(ConnectRequest(message=message))
            assert await code_of(call.read()) is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await code_of(EnrollmentServiceStub(nobody).DiagnoseCredential(big)) in TURNED_OUT


async def test_t25_a_bomb_of_compressed_nothing_is_not_unpacked(site: ProxiedSite) -> None:
    """Two hundred mebibytes that travel as two hundred kibibytes, from somebody without a certificate."""
    bomb = DiagnoseCredentialRequest(certificate=bytes(200 * MIB))
    nobody = grpc.ssl_channel_credentials(site.ca_pem)
    async with unharmed(site, 48), unlimited(site, "enrollment", nobody) as channel:
        call = EnrollmentServiceStub(channel).DiagnoseCredential(bomb, compression=grpc.Compression.Gzip)
        assert await code_of(call) in {grpc.StatusCode.UNIMPLEMENTED, *TURNED_OUT}


async def test_t26_heads_that_never_end_cost_a_stranger_its_connections_and_nobody_else(
    site: ProxiedSite, doors: Doors
) -> None:
    """Before its settings are acknowledged, grpc itself would keep 16 MiB of fields for each: 100 MiB of memory."""
    knock = doors.all()["enrollment, inside"]

    async def flood() -> bool:
        try:
            connection = await knock()
        except OSError:
            return True
        whole = await connection.send(
            opening() + frame(HEADERS, call_head(DIAGNOSE, 1)[9:], stream=1) + MORE_HEAD * 200
        )
        _, closed = await connection.rest(1)
        connection.close()
        return closed or not whole

    async with unharmed(site, 64) as others_are_answered:
        floods = asyncio.gather(*(flood() for _ in range(30)))
        await others_are_answered()
        assert all(await floods)


async def test_t25_a_message_nested_without_end_is_no_message(site: ProxiedSite) -> None:
    nested = b""
    for _ in range(2000):
        nested = b"\x0a" + varint(len(nested)) + nested
    async with unharmed(site), unlimited(site, "grpc", as_node(site)) as channel:
        connect: Any = channel.stream_stream(CONNECT)
        for payload in (b"\x0b" * 4 * MIB, nested, b"\x0a" * 1000):
            call = connect()
            await call.write(payload[: 4 * MIB - 1])
            assert await code_of(ended(call)) in {grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT}


async def ended(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


@pytest.mark.parametrize("door", ["grpc, inside", "enrollment, inside"])
async def test_t27_a_flood_of_pings_ends_its_own_connection(site: ProxiedSite, doors: Doors, door: str) -> None:
    knock = doors.all()[door]
    async with unharmed(site, 32) as others_are_answered:
        flood, few = await knock(), await knock()
        whole = await flood.send(opening() + frame(PING, bytes(8)) * 20_000)
        await others_are_answered()
        _, closed = await flood.rest()
        assert closed or not whole
        # A flood's own reset may swallow the reason; a few pings get to read it.
        await few.send(opening() + frame(PING, bytes(8)) * 10)
        answer, closed = await few.rest()
        assert closed
        assert b"too_many_pings" in answer
    flood.close()
    few.close()


@pytest.mark.parametrize(("door", "path"), [("grpc, inside", CONNECT), ("enrollment, inside", DIAGNOSE)])
async def test_t27_a_rapid_reset_keeps_others_served(site: ProxiedSite, doors: Doors, door: str, path: str) -> None:
    connection = await doors.all()[door]()
    async with unharmed(site) as others_are_answered:
        await connection.send(opening())
        for start in range(1, 20_001, 500):
            burst = b"".join(
                call_head(path, stream) + frame(RST_STREAM, (8).to_bytes(4, "big"), stream=stream)
                for stream in range(start, start + 500, 2)
            )
            if not await connection.send(burst):
                break
        began = time.monotonic()
        await others_are_answered()
        assert time.monotonic() - began < 2 * SLACK
    connection.close()


@pytest.mark.parametrize("port", ["grpc", "enrollment", "relay"])
async def test_t27_slow_handshakes_are_ended_and_others_are_let_in_meanwhile(site: ProxiedSite, port: str) -> None:
    hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03"
    slow = [await RawConnection.open(site.ports[port]) for _ in range(300)]
    for connection in slow:
        await connection.send(hello)
    async with unharmed(site, 48) as others_are_answered:
        began = time.monotonic()
        await others_are_answered()
        endings = await asyncio.gather(*(connection.rest(15 * SLACK) for connection in slow))
        assert all(closed for _, closed in endings)
        assert time.monotonic() - began < 14 * SLACK
    for connection in slow:
        connection.close()


async def test_t27_a_storm_of_handshakes_crashes_nothing(site: ProxiedSite) -> None:
    """The core frees a replaced TLS context under handshakes that use it, so none may be replaced in vain."""

    async def shake_hands() -> None:
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", CONTROL_PLANE_NAME))
        address = f"127.0.0.1:{site.ports['grpc']}"
        async with grpc.aio.secure_channel(address, as_node(site), options) as channel:
            await channel.channel_ready()

    async with unharmed(site), asyncio.timeout(60):
        for _ in range(10):
            await asyncio.gather(*(shake_hands() for _ in range(100)))
