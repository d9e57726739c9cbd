"""The one writer: a thread that takes waiting changes and commits them together.

While a commit is on its way to the disk the next changes gather: a batch grows with the load, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Protocol, TypeVar

from control_plane.domain.errors import StorageUnavailable
from control_plane.store.transaction import SqlTransaction

T = TypeVar("T")
Listener = Callable[[int], None]

MAX_BATCH = 256


class Connection(Protocol):
    """The writing connection. Its methods raise `error`, the driver's own."""

    @property
    def error(self) -> type[Exception]: ...

    def begin(self) -> None: ...

    def revision(self) -> int:
        """The newest, those of this batch included."""

    def savepoint(self) -> SqlTransaction:
        """The transaction of the next change, whose part `release` keeps and `undo` drops."""

    def release(self) -> None: ...

    def undo(self) -> None: ...

    def is_open(self) -> bool:
        """False when the engine has rolled the whole transaction back by itself."""

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def refusal(self, error: BaseException) -> BaseException:
        """What the caller is told."""


@dataclass(slots=True)
class _Waiting:
    change: Callable[[SqlTransaction], Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class _Lost(Exception):  # noqa: N818 - it ends a batch and is seen by nobody
    """The engine rolled the whole transaction back while one change ran."""


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
        self.waiting.error = self.connection.refusal(_raisable(error))
        if not self.connection.is_open():
            raise _Lost from error
        self.connection.undo()
        return True


@dataclass(slots=True)
class Writer:
    """`start` it on the event loop; `write` and `close` belong to that loop."""

    connection: Connection
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _queue: SimpleQueue[_Waiting | None] = field(default_factory=SimpleQueue)
    _listeners: list[Listener] = field(default_factory=list)
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

    def on_change(self, listener: Listener) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

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
                newest = self._commit(batch)
                self._loop.call_soon_threadsafe(self._settle, batch, newest)
        finally:
            self._loop.call_soon_threadsafe(self._refuse_the_rest, batch)

    def _next_batch(self) -> list[_Waiting]:
        """At least one change, or none at the end."""
        batch: list[_Waiting] = []
        waiting = self._queue.get()
        while waiting is not None:
            batch.append(waiting)
            if len(batch) == MAX_BATCH or (waiting := self._queue_now()) is None:
                break
        return batch

    def _queue_now(self) -> _Waiting | None:
        try:
            waiting = self._queue.get_nowait()
        except Empty:
            return None
        if waiting is None:
            self._queue.put(None)
        return waiting

    def _commit(self, batch: list[_Waiting]) -> int | None:
        """The newest revision when there is news for listeners."""
        try:
            self.connection.begin()
            is_news = [self._apply(waiting) for waiting in batch]
            newest = self.connection.revision() if any(is_news) else None
            self.connection.commit()
        except (_Lost, self.connection.error) as error:
            self.connection.rollback()
            _fail(batch, self.connection.refusal(error.__cause__ or error))
            return None
        return newest

    def _apply(self, waiting: _Waiting) -> bool:
        with _Savepoint(self.connection, waiting) as transaction:
            waiting.result = waiting.change(transaction)
        return waiting.error is None and transaction.is_news

    def _settle(self, batch: list[_Waiting], newest: int | None) -> None:
        if newest is not None:
            for listener in tuple(self._listeners):
                self._loop.call_soon(listener, newest)
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
