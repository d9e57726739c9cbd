"""Stands before and after everything that the writer of a store says to its database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from control_plane.store.postgres import PostgresStore
from control_plane.store.sqlite import SqliteStore

Step = Callable[[str], None]
"""Told what is about to be said, on the writer's thread; or DONE, once a commit is on the disk and nobody knows."""
DONE = "committed"


@dataclass(slots=True)
class TrippedCursor:
    """A cursor of SQLite."""

    inner: Any
    step: Step

    @property
    def rowcount(self) -> int:
        return int(self.inner.rowcount)

    def execute(self, operation: str, parameters: Any = (), /) -> object:
        return _stepped(self.inner.execute, self.step, operation, parameters)

    def executemany(self, operation: str, parameters: Any, /) -> object:
        return _stepped(self.inner.executemany, self.step, operation, parameters)

    def fetchall(self) -> Sequence[Any]:
        return list(self.inner.fetchall())


def trip(store: SqliteStore | PostgresStore, step: Step) -> None:
    """Before the first change."""
    writing: Any = store._writing
    if isinstance(store, SqliteStore):
        writing._cursor = writing._transaction._session._cursor = TrippedCursor(writing._cursor, step)
        return
    link = writing._link
    for name in ("execute", "executemany"):
        setattr(link, name, partial(_stepped, getattr(link, name), step))


def _stepped(execute: Callable[..., object], step: Step, operation: str, parameters: Any = None) -> object:
    step(operation)
    answer = execute(operation, parameters)
    if operation.endswith("COMMIT"):
        step(DONE)
    return answer
