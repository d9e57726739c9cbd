"""One request on its way to whoever answers it, and the answer on its way back, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.dialects.rendering import Rendering
from gateway.last_words import last_words
from gateway.metering import Measure, refused_by_node
from gateway.ports import Exchange
from gateway.refusals import EngineBroke, EngineSilent, GatewayRefusal, NotServing
from gateway.settings import GatewaySettings
from gateway.upstream import Lender, Upstream
from wire.byte_pump import Sink, Watchdog
from wire.response_watch import ResponseWatch

_ATTEMPTS = 3


class Client(Protocol):
    """Who asked."""

    @property
    def sink(self) -> Sink: ...

    def answer_began(self) -> None:
        """The request will not be sent again, and is kept no longer."""

    def answer_refusal(self, refusal: GatewayRefusal) -> None:
        """Nothing was sent yet: say no, and go on with the next request."""

    def passage_over(self, *, keep: bool) -> None:
        """The answer is sent. `keep` False: it was cut short, or its sender closes; so the client's connection ends."""


@dataclass(frozen=True, slots=True)
class Course:
    """Where a request goes, and what is sent there."""

    lender: Lender
    message: bytes
    measure: Measure | None = None
    rendering: Rendering | None = None
    """Puts the answer into the client's words; None: it passes byte for byte."""
    left: Callable[[], None] = lambda: None
    """Called once, when the request has no more use for it."""
    on_demand: bool = False
    """What answers there may leave memory at any time."""


class Passage:
    """Ends in exactly one of: the whole answer, a refusal, a cut connection, or an abandonment by the client."""

    def __init__(
        self,
        client: Client,
        course: Course,
        method: bytes,
        settings: GatewaySettings,
        *,
        record: Callable[[Exchange], None] | None = None,
        another: Callable[[], Course | None] | None = None,
    ) -> None:
        """`another`: a course that was not tried yet, when one failed before it answered; None: there is none left.

        GatewayRefusal: there is none, and that is why.
        """
        self._client = client
        self._settings = settings
        self._record = record
        self._another = another
        self._method = method
        self._opening = b""
        """What came of a head that is not whole: nobody was answered by it."""
        self._take(course)
        self._watchdog = Watchdog(self._late)
        self._upstream: Upstream | None = None
        self._write = client.sink.transport.write
        self._in_line = False
        self._answering = False
        self._over = False

    @property
    def over(self) -> bool:
        return self._over

    @property
    def held(self) -> int:
        """Bytes of the request that are kept."""
        return len(self._message)

    @property
    def endless(self) -> bool:
        """It streams something that is no inference, such as events: nothing is lost when it is cut."""
        return self._answering and self._measure is None

    def start(self) -> None:
        self._in_line = False
        others = self._another is not None
        self._watchdog.within(self._settings.reroute_after if others else self._settings.queue_timeout)
        self._lender.lend(self)

    def wait_in_line(self) -> None:
        self._in_line = True
        self._watchdog.within(self._settings.line_timeout)

    def carry(self, upstream: Upstream) -> None:
        if self._opening:
            self._begin_anew()
        self._upstream = upstream
        self._attempts += 1
        self._watchdog.within(self._settings.first_byte_timeout)
        self._client.sink.draw_from(upstream)
        upstream.borrow(self, self._message)

    def received(self, data: bytes) -> None:
        watch = self._watch
        if not watch.feed(data):
            self._cut(EngineBroke("The engine's answer is no valid HTTP.", "Look at the runtime's log."))
            return
        if self._measure is not None:
            self._measure.see(data)
        if not watch.status:
            self._opening += data
            return
        if not self._answering:
            data, self._opening = self._opening + data, b""
            if watch.complete and refused_by_node(data) and self._elsewhere():
                return
            self._begin_answer()
        if not self._hand_on(data):
            return
        if watch.complete:
            self._complete()
        else:
            self._watchdog.within(self._settings.silence_timeout)

    def broken(self) -> None:
        """Before its first byte another connection may be tried; after it, the client must see the break."""
        self._client.sink.let_go()
        self._upstream = None
        if self._answering:
            self._break_off(EngineBroke("The engine broke off its answer.", "Send the request again."))
        elif self._attempts < _ATTEMPTS:
            self.start()
        else:
            self.refuse(EngineBroke("The engine closed the connection before it answered.", "Send the request again."))

    def refuse(self, refusal: Exception) -> None:
        if self._over:
            return
        if isinstance(refusal, NotServing | EngineBroke) and not self._answering and self._elsewhere():
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

    def _begin_answer(self) -> None:
        self._answering = True
        self._message, self._another = b"", None
        self._client.answer_began()

    def _complete(self) -> None:
        self._give_back()
        self._end(keep=self._watch.keep_alive or self._rendering is not None, complete=True)

    def _hand_on(self, data: bytes) -> bool:
        """False: it made no sense, and the passage is over."""
        if self._rendering is not None:
            try:
                data = self._rendering.feed(data)
            except EngineBroke as broke:
                self._cut(broke)
                return False
        if data:
            self._write(data)
        return True

    def _cut(self, why: EngineBroke) -> None:
        """The sender broke the protocol: nothing it says reaches the client any more."""
        self._drop_upstream()
        self._break_off(why)

    def _break_off(self, why: GatewayRefusal) -> None:
        """The client hears of it as far as it still can."""
        if self._over:
            return
        rendering = self._rendering
        if not (self._answering if rendering is None else rendering.begun):
            self.refuse(why)
            return
        if last := last_words(why, rendering, self._measure):
            self._write(last)
        elif rendering is not None and rendering.unframed:
            self._client.sink.reset()
        self._end(keep=False, complete=False)

    def _late(self) -> None:
        if self._in_line:
            self.refuse(NotServing("The request did not come to its turn in time.", "Try again.", retry_after=1))
            return
        waiting = self._upstream is None
        if waiting and not self._answering and self._another is not None:
            if not self._elsewhere():
                self._watchdog.within(self._settings.queue_timeout - self._settings.reroute_after)
            return
        self._lender.forget(self)
        self._drop_upstream()
        if self._answering:
            self._break_off(EngineSilent("The engine stopped in the middle of its answer.", "Send the request again."))
        elif waiting:
            self.refuse(NotServing("The node has no free connection for this request.", "Try again.", retry_after=1))
        else:
            self.refuse(EngineSilent("The engine did not begin to answer in time.", "Try a shorter prompt."))

    def _elsewhere(self) -> bool:
        """Begin anew on another course, or say why not. False: there is none, so this one is waited for."""
        try:
            course = self._another() if self._another is not None else None
        except GatewayRefusal as why:
            self._another = None
            self._detach()
            self.refuse(why)
            return True
        if course is None:
            self._another = None
            return False
        self._detach()
        if self._attempts:
            self._write_down(complete=self._watch.complete, abandoned=False)
        self._left()
        self._take(course)
        self.start()
        return True

    def _detach(self) -> None:
        if self._upstream is None:
            self._lender.forget(self)
        else:
            self._give_back()

    def _take(self, course: Course) -> None:
        self._lender: Lender = course.lender
        self._message = course.message
        self._measure: Measure | None = course.measure
        self._rendering: Rendering | None = course.rendering
        self._left: Callable[[], None] = course.left
        self._attempts: int = 0
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._watch: ResponseWatch = ResponseWatch(self._method)
        self._opening = b""

    def _give_back(self) -> None:
        """What carried a whole answer may carry the next."""
        upstream = self._client.sink.let_go()
        self._upstream = None
        assert isinstance(upstream, Upstream)  # noqa: S101 - draw_from was given nothing else
        upstream.free()
        if self._watch.keep_alive and upstream.open:
            self._lender.take_back(upstream)
        else:
            upstream.close()

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
        if self._attempts:
            self._write_down(complete=complete, abandoned=abandoned)
        self._left()

    def _write_down(self, *, complete: bool, abandoned: bool) -> None:
        if self._measure is not None and self._record is not None:
            self._record(self._measure.exchange(self._watch.status, complete=complete, abandoned=abandoned))
