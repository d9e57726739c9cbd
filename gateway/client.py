"""A client's connection: reads requests, answers them in order."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from gateway.answers import CONTINUE, RefusedEarly, refusal_of, refused
from gateway.dispatch import Dispatch, Way, trace_of
from gateway.holding import Holding
from gateway.loading import Vigil
from gateway.passage import Passage
from gateway.refusals import GatewayRefusal, NotServing
from gateway.settings import GatewaySettings
from wire.byte_pump import Sink, Watchdog, give_up_unread
from wire.http_head import HttpFault, Request, RequestReader
from wire.trace import TraceContext, new

_READ_AHEAD_BYTES = 64 * 1024
_PARSED_AT_ONCE_BYTES = 16 * 1024
"""Smaller than a read: what asks for little, a hundred times in a row, is parsed as it is served."""
_LINGER_SECONDS = 2.0


class Listener(Protocol):
    """Keeps count of connections, and of what they hold."""

    draining: bool
    holding: Holding

    def arrived(self, connection: ClientConnection) -> None: ...

    def departed(self, connection: ClientConnection) -> None: ...


class _Phase(Enum):
    """What the watchdog waits for."""

    FRESH = auto()
    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    BUSY = auto()
    LINGER = auto()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is kept of a request until its answer ends. Its body is not: that goes when the answer begins."""

    path: bytes
    keep_alive: bool
    trace: TraceContext


class ClientConnection(Sink):
    """One request is served at a time; what comes meanwhile is kept, and beyond a bound not read."""

    def __init__(self, listener: Listener, dispatch: Dispatch, settings: GatewaySettings) -> None:
        self._listener = listener
        self._dispatch = dispatch
        self._settings = settings
        self._reader = RequestReader(settings.limits, self._on_head, self._on_request)
        self._waiting: deque[tuple[Request, Way | GatewayRefusal]] = deque()
        self._fault: HttpFault | None = None
        self._passage: Passage | Vigil | None = None
        self._asked: _Asked | None = None
        self._verdict: Way | GatewayRefusal
        self._later: list[bytes] = []
        self._later_size = 0
        self._share = listener.holding.share()
        self._phase = _Phase.FRESH
        self._serving = False
        self._untaken = 0
        """Bytes that waited for the client when it was last looked whether it reads."""

    @property
    def sink(self) -> Sink:
        return self

    @property
    def busy(self) -> bool:
        return self._passage is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._watchdog = Watchdog(self._late)
        self._watchdog.within(self._settings.head_timeout)
        self._stall = Watchdog(self._check_stall)
        give_up_unread(transport, self._settings.stalled_timeout)
        self._listener.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._watchdog.stop()
        self._stall.stop()
        self._share.hold(0)
        self._listener.departed(self)
        passage, self._passage = self._passage, None
        if passage is not None:
            passage.abandon()

    def data_received(self, data: bytes) -> None:
        if self._phase is _Phase.LINGER:
            return
        if self._passage is not None or self._full:
            self._keep_for_later(data)
        else:
            self._read(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_stall()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.open:
            self._stall.rest()
            if self._passage is None and self._phase is not _Phase.LINGER:
                self._go_on(keep=True)

    def close(self) -> None:
        super().close()
        self._watch_stall()

    def answer_began(self) -> None:
        self._weigh()

    def answer_refusal(self, refusal: GatewayRefusal) -> None:
        self._passage = None
        asked = self._asked
        assert asked is not None  # noqa: S101 - only a passage of a request refuses
        keep = self._keeps(asked)
        self.transport.write(refused(asked.path, refusal, asked.trace.trace_id, close=not keep))
        self._go_on(keep)

    def passage_over(self, *, keep: bool) -> None:
        self._passage = None
        self._go_on(keep and self._asked is not None and self._keeps(self._asked))

    def drain(self) -> None:
        """End now when nothing worth waiting for is in hand, else after it."""
        if self._passage is None or self._passage.endless:
            self.close()

    def _keeps(self, asked: _Asked) -> bool:
        return asked.keep_alive and not self._listener.draining

    def _keep_for_later(self, data: bytes) -> None:
        self._later.append(data)
        self._later_size += len(data)
        if self._later_size > _READ_AHEAD_BYTES:
            self.transport.pause_reading()

    def _read(self, data: bytes) -> None:
        left = memoryview(data)
        while left and self._fault is None and self.open:
            if self._passage is not None or self._full:
                self._keep_for_later(bytes(left))
                return
            piece, left = left[:_PARSED_AT_ONCE_BYTES], left[_PARSED_AT_ONCE_BYTES:]
            try:
                self._reader.feed(piece)
                self._check_share()
            except HttpFault as fault:
                self._fault = fault
            self._serve_waiting()

    def _check_share(self) -> None:
        """RefusedEarly: all clients together hold too much for this one's body to be read on."""
        self._weigh()
        if self._share.exceeded and self._reader.in_body:
            raise RefusedEarly(NotServing("Too many large requests are in hand.", "Try again.", retry_after=1))

    def _weigh(self) -> None:
        waiting = sum(len(request.body) for request, _ in self._waiting)
        passing = self._passage.held if self._passage is not None else 0
        self._share.hold(self._reader.held + waiting + passing)

    def _on_head(self, request: Request) -> None:
        self._phase = _Phase.FRESH
        try:
            self._verdict = self._dispatch.check(request)
        except GatewayRefusal as refusal:
            self._verdict = refusal
            if _has_body(request):
                raise RefusedEarly(refusal) from None
            return
        if request.expects_continue and not self._waiting:
            self.transport.write(CONTINUE)

    def _on_request(self, request: Request) -> None:
        self._waiting.append((request, self._verdict))

    def _serve_waiting(self) -> None:
        if self._serving:
            return
        self._serving = True
        while self._waiting and self._passage is None and self.open and not self._full:
            self._serve(*self._waiting.popleft())
        self._serving = False
        self._weigh()
        if self._fault is not None and not self._waiting and self._passage is None and self.open:
            self._refuse_for_good(refusal_of(self._fault))
        self._watch()

    def _serve(self, request: Request, verdict: Way | GatewayRefusal) -> None:
        self._asked = asked = _Asked(request.path, request.keep_alive, trace_of(request))
        try:
            if isinstance(verdict, GatewayRefusal):
                raise verdict
            served = verdict(self, asked.trace)
        except GatewayRefusal as refusal:
            self._say(asked, refused(asked.path, refusal, asked.trace.trace_id, close=not self._keeps(asked)))
            return
        if isinstance(served, bytes):
            self._say(asked, served)
        else:
            self._passage = served
            served.start()

    def _say(self, asked: _Asked, answer: bytes) -> None:
        self.transport.write(answer)
        if not self._keeps(asked):
            self.close()

    def _go_on(self, keep: bool) -> None:
        self._weigh()
        if not keep:
            self.close()
            return
        self._serve_waiting()
        if self._later and self._passage is None and not self._full:
            data = b"".join(self._later)
            self._later, self._later_size = [], 0
            self.transport.resume_reading()
            self._read(data)

    def _refuse_for_good(self, refusal: GatewayRefusal) -> None:
        """Answer, then read and drop for a moment: closing at once would reset the answer away."""
        self._phase = _Phase.LINGER
        self.transport.write(refused(self._reader.path, refusal, new().trace_id, close=True))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._watchdog.within(_LINGER_SECONDS)

    def _watch(self) -> None:
        phase = self._current_phase()
        if phase is self._phase and phase is not _Phase.IDLE:
            return
        self._phase = phase
        timeouts = {
            _Phase.IDLE: self._settings.keep_alive,
            _Phase.HEAD: self._settings.head_timeout,
            _Phase.BODY: self._settings.body_timeout,
        }
        if phase is _Phase.BUSY:
            self._watchdog.rest()
        elif phase in timeouts:
            self._watchdog.within(timeouts[phase])

    def _current_phase(self) -> _Phase:
        if self._phase is _Phase.LINGER:
            return _Phase.LINGER
        if self._passage is not None:
            return _Phase.BUSY
        if self._reader.in_body:
            return _Phase.BODY
        return _Phase.HEAD if self._reader.reading else _Phase.IDLE

    def _watch_stall(self) -> None:
        self._untaken = self.transport.get_write_buffer_size()
        self._stall.within(self._settings.stalled_timeout)

    def _check_stall(self) -> None:
        """A slow reader is waited for as long as it reads at all."""
        if self.transport.get_write_buffer_size() < self._untaken:
            self._watch_stall()
        else:
            self.abort()

    def _late(self) -> None:
        if self._phase in (_Phase.HEAD, _Phase.BODY):
            self._refuse_for_good(refusal_of(HttpFault(408, "The request did not arrive in time.")))
        else:
            self.close()


def _has_body(request: Request) -> bool:
    return request.header(b"transfer-encoding") is not None or request.header(b"content-length") not in (None, b"0")
