"""Requests that wait until what they name is loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from gateway.answers import answered
from gateway.dialects.begun import Begun, closed, comment, opened
from gateway.dialects.errors import Shape
from gateway.errands import Answered
from gateway.passage import Client, Course, Passage
from gateway.ports import Routes
from gateway.refusals import GatewayRefusal, Loading, NotServing
from gateway.settings import GatewaySettings
from wire.byte_pump import Sink, Watchdog


class LoadingRoom:
    """Everyone who waits for something to be loaded."""

    def __init__(self, routes: Routes, settings: GatewaySettings) -> None:
        self._routes = routes
        self._waiting: dict[Vigil, None] = {}
        self.settings = settings

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, vigil: Vigil, loading: Loading) -> None:
        """Its runtime is asked for, however often. NotServing with too many waiting."""
        if vigil not in self._waiting and len(self._waiting) >= self.settings.loading_length:
            text = f"{loading.text} {len(self._waiting)} requests wait for models to be loaded."
            raise NotServing(text, "Try again later.", retry_after=loading.retry_after)
        self._waiting[vigil] = None
        self._routes.wake(loading.runtime)

    def leave(self, vigil: Vigil) -> None:
        self._waiting.pop(vigil, None)

    def look_again(self) -> None:
        """What serves is not what it was."""
        for vigil in tuple(self._waiting):
            if vigil in self._waiting:
                vigil.look_again()


@dataclass(frozen=True, slots=True)
class Wish:
    """What is waited with."""

    next: Callable[[], Course | Answered]
    """GatewayRefusal; Loading: it has to wait."""
    passage: Callable[[Client, Course], Passage]
    held: int
    """Bytes of the request."""
    request_id: str
    shape: Shape
    told: bool
    """It is a stream of events, so that it can be told that it waits."""


class Vigil:
    """A request for something that is loaded on demand: waits, passes, and waits again where it was just unloaded.

    To the client it is the passage; to the passage, the client.
    """

    def __init__(self, client: Client, room: LoadingRoom, wish: Wish, first: Course | Loading) -> None:
        self._client = client
        self._room = room
        self._wish: Wish | None = wish
        self._first = first
        self._passage: Passage | None = None
        self._watchdog = Watchdog(self._tick)
        self._deadline: float | None = None
        self._loading = first if isinstance(first, Loading) else None
        self._shape, self._request_id = wish.shape, wish.request_id
        self._opened = False
        """The client's stream has begun."""

    @property
    def sink(self) -> Sink:
        return self._client.sink

    @property
    def held(self) -> int:
        if self._passage is not None:
            return self._passage.held
        return self._wish.held if self._wish is not None else 0

    @property
    def endless(self) -> bool:
        return False

    def start(self) -> None:
        if isinstance(self._first, Loading):
            self._wait(self._first)
        else:
            self._pass(self._first)

    def abandon(self) -> None:
        """What it asked for is loaded all the same: others may want it."""
        self._rest()
        passage, self._passage = self._passage, None
        if passage is not None:
            passage.abandon()

    def look_again(self) -> None:
        assert self._wish is not None  # noqa: S101 - nobody waits whose answer began
        try:
            found = self._wish.next()
        except Loading as loading:
            self._wait(loading)
        except GatewayRefusal as refusal:
            self._refuse(refusal)
        else:
            self._rest()
            self._go_on(found)

    def answer_began(self) -> None:
        self._wish = None
        self._client.answer_began()

    def answer_refusal(self, refusal: GatewayRefusal) -> None:
        self._passage = None
        if isinstance(refusal, Loading):
            self._wait(refusal)
        else:
            self._refuse(refusal)

    def passage_over(self, *, keep: bool) -> None:
        self._passage = None
        self._client.passage_over(keep=keep)

    def _wait(self, loading: Loading) -> None:
        self._loading, settings = loading, self._room.settings
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + settings.loading_timeout
        try:
            self._room.enter(self, loading)
        except NotServing as refusal:
            self._refuse(refusal)
        else:
            self._watchdog.within(max(0.0, min(settings.loading_tick, self._deadline - now)))

    def _tick(self) -> None:
        """Nothing may have told of the change, or the client may be wondering."""
        loading = self._loading
        assert loading is not None  # noqa: S101 - only who waits is late
        assert self._deadline is not None  # noqa: S101 - as above
        if asyncio.get_running_loop().time() >= self._deadline:
            self._refuse(NotServing(loading.text, loading.remedy, retry_after=loading.retry_after))
            return
        self.look_again()
        self._tell(self._loading or loading)

    def _tell(self, loading: Loading) -> None:
        if self._passage is not None or self._wish is None or not self._wish.told:
            return
        head = b"" if self._opened else opened(self._request_id)
        self._opened = True
        self.sink.transport.write(head + comment(f"loading {loading.text}"))

    def _go_on(self, found: Course | Answered) -> None:
        if isinstance(found, Course):
            self._pass(found)
            return
        self._wish = None
        self.sink.transport.write(answered(found.value, self._request_id, close=False))
        self._client.passage_over(keep=True)

    def _pass(self, course: Course) -> None:
        assert self._wish is not None  # noqa: S101 - nothing is sent twice
        if self._opened:
            course = replace(course, rendering=Begun(self._request_id, self._shape, course.rendering))
        self._passage = passage = self._wish.passage(self, course)
        passage.start()

    def _refuse(self, refusal: GatewayRefusal) -> None:
        self._rest()
        self._wish = None
        if self._opened:
            self.sink.transport.write(closed(refusal, self._shape, self._request_id))
            self._client.passage_over(keep=True)
        else:
            self._client.answer_refusal(refusal)

    def _rest(self) -> None:
        self._watchdog.stop()
        self._room.leave(self)
