"""The agent's end of a parked connection."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

import structlog

from node_agent.domain.spec import Hold, InstanceName
from node_agent.relay.answers import Refused, answer
from node_agent.relay.delivery import Delivery
from node_agent.relay.engines import Engines
from node_agent.use_cases.ports import Doors
from wire.byte_pump import Sink, keep_probing
from wire.http_head import HttpFault, Limits, Request, RequestReader

_LIMITS = Limits(head_bytes=128 * 1024, headers=200, body_bytes=256 * 1024 * 1024)
"""Wider than the gateway's, which is the one that decides."""
_FENCE_DIGITS = 20
_log = structlog.get_logger()


class Parking(Protocol):
    """Keeps count of parked connections."""

    def arrived(self, connection: ParkedConnection) -> None: ...

    def departed(self, connection: ParkedConnection) -> None: ...

    def taken(self, connection: ParkedConnection) -> None:
        """It carries a request now."""

    def freed(self, connection: ParkedConnection) -> None: ...


@dataclass(frozen=True, slots=True)
class Introduction:
    """The first frame: whose connection this is."""

    node: str
    epoch: int

    @property
    def frame(self) -> bytes:
        return f"ARW-RELAY/1 {self.node} {self.epoch}\r\n".encode()


class ParkedConnection(Sink):
    """Carries one request after another, each checked against the holds of its instance."""

    def __init__(self, parking: Parking, introduction: Introduction, doors: Doors, engines: Engines) -> None:
        self._parking = parking
        self._introduction = introduction
        self._doors = doors
        self._engines = engines
        self._reader = RequestReader(_LIMITS, lambda _: None, self._on_request)
        self._delivery: Delivery | None = None
        self._request_id: bytes | None = None
        self.requests = 0
        self.idle_since = 0.0
        """Loop time."""

    @property
    def sink(self) -> Sink:
        return self

    @property
    def busy(self) -> bool:
        return self._delivery is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        keep_probing(transport)
        self.idle_since = asyncio.get_running_loop().time()
        self.transport.write(self._introduction.frame)
        self._parking.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            delivery.abandon()
        self._parking.departed(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except HttpFault as fault:
            _log.warning("relay_request_malformed", why=fault.text)
            self.abort()

    def refuse(self, refused: Refused) -> None:
        self.transport.write(answer(refused, self._request_id))
        self.delivered(keep=True)

    def delivered(self, *, keep: bool) -> None:
        self._delivery = None
        self.idle_since = asyncio.get_running_loop().time()
        if not keep:
            self.close()
        self._parking.freed(self)

    def _on_request(self, request: Request) -> None:
        if self._delivery is not None:
            raise HttpFault(400, "A request came before the last one was answered.")
        self.requests += 1
        self._request_id = request.header(b"x-request-id")
        instance = InstanceName((request.header(b"x-arw-instance") or b"").decode("latin-1"))
        door = self._doors.door(instance)
        self._parking.taken(self)
        if door is None:
            self.refuse(Refused.NOT_SERVING)
        elif (hold := _hold_of(request)) not in door.holds:
            self.refuse(Refused.STALE_FENCE)
        else:
            self._delivery = Delivery(self, self._engines, instance, door, request, hold=hold)
            self._delivery.start()


def _hold_of(request: Request) -> Hold:
    """What it says that it comes in under; one that nobody can have when it does not say."""
    claim, fence = request.header(b"x-arw-claim") or b"", request.header(b"x-arw-fence") or b""
    return Hold(claim.decode("latin-1"), int(fence) if fence.isdigit() and len(fence) <= _FENCE_DIGITS else 0)
