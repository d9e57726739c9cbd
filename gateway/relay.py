"""Parked connections: dialled by agents, lent to requests."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import struct

import structlog
from cryptography import x509

from gateway.ports import Demand, RelayGate
from gateway.refusals import GatewayRefusal, NotServing
from gateway.settings import GatewaySettings
from gateway.upstream import Carried, Upstream
from wire.byte_pump import Watchdog, keep_probing
from wire.credentials import Role, identity_of, serial_hex

_FIRST_FRAME = re.compile(rb"ARW-RELAY/1 (nodes/)?([a-z0-9][a-z0-9._/-]{0,127}) ([0-9]{1,20})\r\n")
_FIRST_FRAME_BYTES = 256
_ASK_AGAIN_SECONDS = 0.25
_CREDENTIALS = struct.Struct("3i")
_log = structlog.get_logger()


class NodePool:
    """The parked connections of one node: the last one returned is lent first, so surplus ones grow old."""

    def __init__(self, node: str, demand: Demand, settings: GatewaySettings) -> None:
        self.node = node
        self._demand = demand
        self._settings = settings
        self.connections: set[ParkedConnection] = set()
        self._idle: list[ParkedConnection] = []
        self._waiting: dict[Carried, None] = {}
        self._asked = 0
        self._asked_at = 0.0
        self._closed: GatewayRefusal | None = None

    @property
    def idle(self) -> int:
        return len(self._idle)

    def admit(self, connection: ParkedConnection) -> bool:
        if len(self.connections) >= self._settings.relay_connections:
            return False
        self.connections.add(connection)
        self._offer(connection)
        return True

    def lend(self, passage: Carried) -> None:
        if self._closed is not None:
            passage.refuse(self._closed)
            return
        connection = self._newest()
        if connection is None:
            self._queue(passage)
        else:
            passage.carry(connection)
        self._ask_for_more()

    def forget(self, passage: Carried) -> None:
        self._waiting.pop(passage, None)

    def take_back(self, upstream: Upstream) -> None:
        if isinstance(upstream, ParkedConnection) and upstream in self.connections:
            self._offer(upstream)

    def remove(self, connection: ParkedConnection) -> None:
        self.connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self, refusal: GatewayRefusal) -> None:
        """Cut every connection now; nobody who waits, or comes later, will be served."""
        self._closed = refusal
        waiting, self._waiting = list(self._waiting), {}
        for connection in tuple(self.connections):
            connection.abort()
        self._idle.clear()
        for passage in waiting:
            passage.refuse(refusal)

    def _newest(self) -> ParkedConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.counts:
                return connection
        return None

    def _offer(self, connection: ParkedConnection) -> None:
        if not connection.counts:
            return
        if self._waiting:
            passage = next(iter(self._waiting))
            del self._waiting[passage]
            passage.carry(connection)
        else:
            self._idle.append(connection)

    def _queue(self, passage: Carried) -> None:
        if len(self._waiting) >= self._settings.queue_length:
            passage.refuse(NotServing("Too many requests wait for this node.", "Try again later.", retry_after=2))
        else:
            self._waiting[passage] = None

    def _ask_for_more(self) -> None:
        spare = self._settings.spare_connections
        if len(self._idle) * 2 >= spare and not self._waiting:
            return
        busy = len(self.connections) - len(self._idle)
        wanted = min(max(spare, busy // 4) + len(self._waiting), self._settings.relay_connections)
        now = asyncio.get_running_loop().time()
        if wanted > self._asked or now - self._asked_at > _ASK_AGAIN_SECONDS:
            self._asked, self._asked_at = wanted, now
            self._demand.want(self.node, wanted)


class Relay:
    """Every node's pool, and the door through which connections enter."""

    def __init__(self, gate: RelayGate, demand: Demand, settings: GatewaySettings) -> None:
        self._gate = gate
        self._demand = demand
        self.settings = settings
        self._pools: dict[str, NodePool] = {}
        self._strangers: set[ParkedConnection] = set()

    def pool(self, node: str) -> NodePool:
        if node not in self._pools:
            self._pools[node] = NodePool(node, self._demand, self.settings)
        return self._pools[node]

    def drop_node(self, node: str) -> None:
        """Its session is over: close all its connections at once, whatever they carry."""
        pool = self._pools.pop(node, None)
        if pool is not None:
            pool.close(NotServing(f"Node {node} went offline.", "Try again; it reconnects by itself.", retry_after=5))

    def close(self) -> None:
        for stranger in tuple(self._strangers):
            stranger.abort()
        for node in tuple(self._pools):
            self.drop_node(node)

    def greet(self, connection: ParkedConnection) -> None:
        self._strangers.add(connection)

    def leave(self, connection: ParkedConnection) -> None:
        self._strangers.discard(connection)

    def admits(self, node: str, epoch: int, serial: str | None) -> bool:
        return self._gate.admits(node, epoch, serial)

    def superseded(self, node: str, epoch: int) -> bool:
        return self._gate.superseded(node, epoch)


class ParkedConnection(Upstream):
    """Says once whose it is; then carries requests."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._pool: NodePool | None = None
        self._certified: tuple[str, str] | None = None
        self._epoch = 0
        self._first = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._relay.greet(self)
        self._watchdog = Watchdog(self.abort)
        self._watchdog.within(self._relay.settings.first_frame_timeout)
        if not self._identify():
            self._turn_away("peer_unknown")
        keep_probing(transport)

    def unasked(self, data: bytes) -> None:
        if self._pool is not None:
            self._turn_away("spoke_out_of_turn")
            return
        self._first += data
        if b"\n" in self._first or len(self._first) > _FIRST_FRAME_BYTES:
            self._introduce()

    def gone(self) -> None:
        self._watchdog.stop()
        self._relay.leave(self)
        if self._pool is not None:
            self._pool.remove(self)

    @property
    def counts(self) -> bool:
        """Fit to be lent. It may be an older agent's, which a newer one with the same name has replaced since."""
        if self._pool is None or not self.open:
            return False
        if self._relay.superseded(self._pool.node, self._epoch):
            self._turn_away("superseded", node=self._pool.node, epoch=self._epoch)
            return False
        return True

    def _identify(self) -> bool:
        """On TLS a node's certificate, on the Unix socket our own user."""
        tls: ssl.SSLObject | None = self.transport.get_extra_info("ssl_object")
        if tls is None:
            return self._is_our_user()
        try:
            certificate = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
            identity = identity_of(certificate)
        except ValueError:
            return False
        self._certified = (identity.name, serial_hex(certificate))
        return identity.role is Role.NODE

    def _is_our_user(self) -> bool:
        peer = self.transport.get_extra_info("socket")
        if peer.family != socket.AF_UNIX:
            return False
        _, uid, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        return bool(uid == os.getuid())

    def _introduce(self) -> None:
        frame = _FIRST_FRAME.fullmatch(self._first)
        if frame is None:
            self._turn_away("first_frame_malformed")
            return
        node, epoch = frame[2].decode(), int(frame[3])
        name, serial = self._certified or (node, None)
        if name != node or not self._relay.admits(node, epoch, serial):
            self._turn_away("session_unknown", node=node, epoch=epoch)
            return
        self._epoch = epoch
        self._watchdog.stop()
        self._relay.leave(self)
        self._join(self._relay.pool(node))

    def _join(self, pool: NodePool) -> None:
        self._pool = pool
        if not pool.admit(self):
            self._turn_away("too_many", node=pool.node)

    def _turn_away(self, why: str, **fields: object) -> None:
        _log.info("relay_connection_refused", why=why, **fields)
        self.abort()
