"""The one writer: a thread that takes waiting changes and commits them together.

While a commit is on its way to the disk the next changes gather: a batch grows with the load, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Protocol, TypeVar

from control_plane.domain.errors import StorageUnavailable
from control_plane.store.listeners import Listeners, Position
from control_plane.store.transaction import SqlTransaction

T = TypeVar("T")

MAX_BATCH = 256
ATTEMPTS = 3
"""Of a batch that lost against another session of the database."""
_YIELD_SECONDS = 0.02


class Connection(Protocol):
    """The writing connection. Its methods raise `error`, the driver's own."""

    @property
    def error(self) -> type[Exception]: ...

    def begin(self) -> None: ...

    def position(self) -> Position:
        """The newest, this batch included."""

    def savepoint(self) -> SqlTransaction:
        """The transaction of the next change, whose part `release` keeps and `undo` drops."""

    def release(self) -> None: ...

    def undo(self) -> None: ...

    def is_lost(self, error: BaseException, /) -> bool:
        """True when the error of one change has ended the whole transaction, or has to."""

    def commit(self, news: Position | None, /) -> None:
        """With `news` it also wakes the listeners of other processes, where there are any."""

    def rollback(self) -> None: ...

    def may_pass(self, error: BaseException, /) -> bool:
        """True when the engine ended the transaction for another's sake, and the same changes may do next time."""

    def refusal(self, error: BaseException) -> BaseException:
        """What the caller is told."""


@dataclass(slots=True)
class _Waiting:
    change: Callable[[SqlTransaction], Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class _Lost(Exception):  # noqa: N818 - it ends a batch and is seen by nobody
    """The whole transaction ended while one change ran."""


@dataclass(slots=True)
class _Savepoint:
    """Keeps the error of a change for the one who waits for it, and undoes that change alone."""

    connection: Connection
    waiting: _Waiting

    def __enter__(self) -> SqlTransaction:
        return self.connection.savepoint()

    def __exit__(self, _: object, error: BaseException | None, __: TracebackType | None) -> bool:
        if error is None:
            self.connection.release()
            return False
        if self.connection.is_lost(error):
            raise _Lost from error
        self.waiting.error = self.connection.refusal(_raisable(error))
        self.connection.undo()
        return True


@dataclass(slots=True)
class Writer:
    """`start` it on the event loop; `write` and `close` belong to that loop."""

    connection: Connection
    listeners: Listeners
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _queue: SimpleQueue[_Waiting | None] = field(default_factory=SimpleQueue)
    _is_closed: bool = False
    _thread: threading.Thread = field(init=False)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def write(self, change: Callable[[SqlTransaction], T]) -> T:
        if self._is_closed:
            raise _closed()
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Waiting(change, future))
        return await future

    async def close(self) -> None:
        """Commit what waits, then end."""
        self._is_closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._refuse_the_rest([])

    def _run(self) -> None:
        batch: list[_Waiting] = []
        try:
            while batch := self._next_batch():
                news = self._commit(batch)
                self._loop.call_soon_threadsafe(self._settle, batch, news)
        finally:
            self._loop.call_soon_threadsafe(self._refuse_the_rest, batch)

    def _next_batch(self) -> list[_Waiting]:
        """At least one change, or none at the end."""
        first = self._queue.get()
        return [] if first is None else [first, *self._gathered(MAX_BATCH - 1)]

    def _gathered(self, limit: int) -> Iterator[_Waiting]:
        """What waits now."""
        for _ in range(limit):
            if (waiting := self._queue_now()) is None:
                return
            yield waiting

    def _queue_now(self) -> _Waiting | None:
        try:
            waiting = self._queue.get_nowait()
        except Empty:
            return None
        if waiting is None:
            self._queue.put(None)
        return waiting

    def _commit(self, batch: list[_Waiting]) -> Position | None:
        """Where the history is now when there is news for listeners."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempted(batch)
            except (_Lost, self.connection.error) as error:
                self.connection.rollback()
                cause = error.__cause__ or error
                if attempt == ATTEMPTS or not self.connection.may_pass(cause):
                    _fail(batch, self.connection.refusal(cause))
                    break
                for waiting in batch:
                    waiting.error = None
                # The other one wakes more slowly than this one tries again.
                time.sleep(_YIELD_SECONDS)
        return None

    def _attempted(self, batch: list[_Waiting]) -> Position | None:
        try:
            self.connection.begin()
        except self.connection.error:
            # Whoever came meanwhile has waited for the same thing, and in vain.
            batch += self._gathered(self._queue.qsize())
            raise
        is_news = [self._apply(waiting) for waiting in batch]
        news = self.connection.position() if any(is_news) else None
        self.connection.commit(news)
        return news

    def _apply(self, waiting: _Waiting) -> bool:
        with _Savepoint(self.connection, waiting) as transaction:
            waiting.result = waiting.change(transaction)
        return waiting.error is None and transaction.is_news

    def _settle(self, batch: list[_Waiting], news: Position | None) -> None:
        if news is not None:
            self.listeners.tell(news)
        for waiting in batch:
            _resolve(waiting)

    def _refuse_the_rest(self, in_hand: list[_Waiting]) -> None:
        """What is still unanswered once the thread has ended, well or not."""
        self._is_closed = True
        waiting = in_hand
        while not self._queue.empty():
            waiting += filter(None, [self._queue.get_nowait()])
        _fail(waiting, _closed())
        for refused in waiting:
            _resolve(refused)


def _raisable(error: BaseException) -> BaseException:
    if not isinstance(error, StopIteration):
        return error
    # A future takes no StopIteration; a coroutine that raised it would turn it into this.
    raisable = RuntimeError("The change raised StopIteration.")
    raisable.__cause__ = error
    return raisable


def _resolve(waiting: _Waiting) -> None:
    if waiting.future.done():
        return
    if waiting.error is None:
        waiting.future.set_result(waiting.result)
    else:
        waiting.future.set_exception(waiting.error)


def _fail(batch: list[_Waiting], error: BaseException) -> None:
    for waiting in batch:
        waiting.error = waiting.error or error


def _closed() -> StorageUnavailable:
    return StorageUnavailable("The database is closed.", "Start the control plane again, then repeat the request.")
