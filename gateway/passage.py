"""One request on its way to whoever answers it, and the answer on its way back, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.metering import Measure
from gateway.ports import Exchange
from gateway.refusals import EngineBroke, EngineSilent, GatewayRefusal, NotServing
from gateway.settings import GatewaySettings
from gateway.upstream import Lender, Upstream
from wire.byte_pump import Sink, Watchdog
from wire.http_head import ResponseWatch

_ATTEMPTS = 3


class Client(Protocol):
    """Who asked."""

    @property
    def sink(self) -> Sink: ...

    def answer_refusal(self, refusal: GatewayRefusal) -> None:
        """Nothing was sent yet: say no, and go on with the next request."""

    def passage_over(self, *, keep: bool) -> None:
        """The answer is sent. `keep` False: it was cut short, or its sender closes; so the client's connection ends."""


class Passage:
    """Ends in exactly one of: the whole answer, a refusal, a cut connection, or an abandonment by the client."""

    def __init__(
        self,
        client: Client,
        lender: Lender,
        method: bytes,
        message: bytes,
        settings: GatewaySettings,
        *,
        measure: Measure | None = None,
        record: Callable[[Exchange], None] | None = None,
    ) -> None:
        self._client = client
        self._lender = lender
        self._message = message
        self._settings = settings
        self._measure = measure
        self._record = record
        self._watch = ResponseWatch(method)
        self._watchdog = Watchdog(self._late)
        self._upstream: Upstream | None = None
        self._write = client.sink.transport.write
        self._attempts = 0
        self._answering = False
        self._over = False

    @property
    def over(self) -> bool:
        return self._over

    @property
    def endless(self) -> bool:
        """It streams something that is no inference, such as events: nothing is lost when it is cut."""
        return self._answering and self._measure is None

    def start(self) -> None:
        self._watchdog.within(self._settings.queue_timeout)
        self._lender.lend(self)

    def carry(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._attempts += 1
        self._watchdog.within(self._settings.first_byte_timeout)
        self._client.sink.draw_from(upstream)
        upstream.borrow(self, self._message)

    def received(self, data: bytes) -> None:
        watch = self._watch
        if not watch.feed(data):
            self._cut()
            return
        if not self._answering:
            self._answering, self._message = True, b""
        if self._measure is not None:
            self._measure.see(data)
        self._write(data)
        if watch.complete:
            self._complete()
        else:
            self._watchdog.within(self._settings.silence_timeout)

    def broken(self) -> None:
        """Before its first byte another connection may be tried; after it, the client must see the break."""
        self._client.sink.let_go()
        self._upstream = None
        if self._answering:
            self._end(keep=False, complete=False)
        elif self._attempts < _ATTEMPTS:
            self.start()
        else:
            self.refuse(EngineBroke("The engine closed the connection before it answered.", "Send the request again."))

    def refuse(self, refusal: Exception) -> None:
        if self._over:
            return
        self._close_books(complete=False, abandoned=False)
        assert isinstance(refusal, GatewayRefusal)  # noqa: S101 - lenders refuse with nothing else
        self._client.answer_refusal(refusal)

    def abandon(self) -> None:
        """The client is gone: closing the connection makes the agent end the generation."""
        if self._over:
            return
        self._lender.forget(self)
        self._drop_upstream()
        self._close_books(complete=False, abandoned=True)

    def _complete(self) -> None:
        upstream = self._client.sink.let_go()
        self._upstream = None
        assert isinstance(upstream, Upstream)  # noqa: S101 - draw_from was given nothing else
        upstream.free()
        if self._watch.keep_alive and upstream.open:
            self._lender.take_back(upstream)
        else:
            upstream.close()
        self._end(keep=self._watch.keep_alive, complete=True)

    def _cut(self) -> None:
        """The sender broke the protocol: nothing it says reaches the client any more."""
        self._drop_upstream()
        if self._answering:
            self._end(keep=False, complete=False)
        else:
            self.refuse(EngineBroke("The engine's answer is no valid HTTP.", "Look at the runtime's log."))

    def _late(self) -> None:
        waiting = self._upstream is None
        self._lender.forget(self)
        self._drop_upstream()
        if self._answering:
            self._end(keep=False, complete=False)
        elif waiting:
            self.refuse(NotServing("The node has no free connection for this request.", "Try again.", retry_after=1))
        else:
            self.refuse(EngineSilent("The engine did not begin to answer in time.", "Try a shorter prompt."))

    def _drop_upstream(self) -> None:
        self._client.sink.let_go()
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.free()
            upstream.abort()

    def _end(self, *, keep: bool, complete: bool) -> None:
        if self._over:
            return
        self._close_books(complete=complete, abandoned=False)
        self._client.passage_over(keep=keep)

    def _close_books(self, *, complete: bool, abandoned: bool) -> None:
        self._over = True
        self._watchdog.stop()
        if self._measure is not None and self._record is not None and self._attempts:
            self._record(self._measure.exchange(self._watch.status, complete=complete, abandoned=abandoned))
