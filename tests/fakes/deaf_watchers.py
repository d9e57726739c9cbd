"""Clients that ask for streams and never take what comes: gRPC whose transport lives on, and bare HTTP sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message

from tests.fakes.http_talk import request
from tests.fakes.raw_http2 import (
    DATA,
    END_STREAM,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    RawConnection,
    call_head,
    frame,
    grpc_message,
    opening,
)
from wire.channel import secure_channel
from wire.credentials import CONTROL_PLANE_NAME

WINDOW_UPDATE, ACK = 0x8, 0x1
WIDE = 2**31 - 1 - 65_535
"""Of the connection, so that each stream gets a whole window of its own."""
SMALL_BUFFER = 4096


@dataclass(slots=True, eq=False)
class DeafCalls:
    """Many calls on one connection. It answers pings and opens no window: what a client does that reads no message."""

    connection: RawConnection
    began: set[int] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)
    taken: int = 0
    """Bytes of messages that came before the windows were full."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    async def open(cls, port: int, tls: ssl.SSLContext) -> DeafCalls:
        made = cls(await RawConnection.open(port, tls, name=CONTROL_PLANE_NAME))
        await made.connection.send(opening() + frame(WINDOW_UPDATE, WIDE.to_bytes(4, "big")))
        return made

    async def call(self, path: str, said: Message, count: int) -> None:
        body = grpc_message(said.SerializeToString())
        for _ in range(count):
            stream = 2 * len(self.began) + 1
            self.began.add(stream)
            words = call_head(path, stream) + frame(DATA, body, flags=END_STREAM, stream=stream)
            await self.connection.send(words)

    async def live(self) -> None:
        """Until the peer closes."""
        try:
            while True:
                head = await self.connection.reader.readexactly(9)
                payload = await self.connection.reader.readexactly(int.from_bytes(head[:3], "big"))
                self._heard(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
        except (asyncio.IncompleteReadError, OSError):
            self.closed.set()

    @property
    def left(self) -> int:
        """Calls that are still open."""
        return 0 if self.closed.is_set() else len(self.began - self.ended)

    def _heard(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        match kind:
            case _ if kind == DATA:
                self.taken += len(payload)
            case _ if kind in (SETTINGS, PING) and not flags & ACK:
                answer = payload if kind == PING else b""
                self.connection.writer.write(frame(kind, answer, flags=ACK))
            case _ if kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM):
                self.ended.add(stream)


def operator_tls(context_file: Path, folder: Path) -> ssl.SSLContext:
    """An operator's, from the file that the control plane wrote."""
    said: dict[str, Any] = json.loads(context_file.read_bytes())
    chain, key = folder / "deaf.pem", folder / "deaf.key"
    chain.write_text(said["certificate_pem"])
    key.write_text(said["key_pem"])
    tls = ssl.create_default_context(cadata=said["ca_pem"])
    tls.load_cert_chain(chain, key)
    tls.set_alpn_protocols(["h2"])
    return tls


def operator_channel(context_file: Path) -> grpc.aio.Channel:
    """One whose calls are read."""
    said: dict[str, Any] = json.loads(context_file.read_bytes())
    root, key, chain = (said[name].encode() for name in ("ca_pem", "key_pem", "certificate_pem"))
    return secure_channel(said["grpc_address"], grpc.ssl_channel_credentials(root, key, chain))


def small_socket(port: int) -> socket.socket:
    """Connected; its system takes little for it."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    made.connect(("127.0.0.1", port))
    return made


def deaf_socket(port: int, path: str, token: str) -> socket.socket:
    """Asks once over HTTP and never reads."""
    made = small_socket(port)
    made.sendall(request("GET", path, authorization=f"Bearer {token}"))
    return made
