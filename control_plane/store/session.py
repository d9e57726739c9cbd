"""One database connection, as the transaction sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from control_plane.store.statements import Statement, Statements

Record = tuple[Any, ...]


class Cursor(Protocol):
    """The part of a DB-API cursor that is used."""

    @property
    def rowcount(self) -> int: ...

    def execute(self, operation: str, parameters: Any = ..., /) -> object: ...

    def executemany(self, operation: str, parameters: Sequence[Any], /) -> object: ...

    def fetchall(self) -> Sequence[Any]: ...


class Session:
    """Runs compiled statements on one cursor; the driver's errors pass through."""

    def __init__(self, cursor: Cursor, statements: Statements) -> None:
        self.statements = statements
        self._cursor = cursor
        self._put_off: list[tuple[str, Mapping[str, object]]] = []

    def run(self, statement: Statement, **values: object) -> int:
        """How many rows it touched."""
        self._execute(statement, values)
        return self._cursor.rowcount

    def rows(self, statement: Statement, **values: object) -> Sequence[Record]:
        self._execute(statement, values)
        return self._cursor.fetchall()

    def one(self, statement: Statement, **values: object) -> Record | None:
        # Fetched to the end: a statement left half-read would keep the transaction open.
        rows = self.rows(statement, **values)
        return rows[0] if rows else None

    def later(self, statement: Statement, **values: object) -> None:
        """Run it before the commit, at one go with all that are alike: for rows that none of them looks for."""
        self._put_off.append((statement.text, {**values, **statement.fixed}))

    @property
    def mark(self) -> int:
        """How much was put off so far; see `forget`."""
        return len(self._put_off)

    def forget(self, mark: int = 0) -> None:
        """What was put off since then."""
        del self._put_off[mark:]

    def catch_up(self) -> None:
        """Run what was put off."""
        alike: dict[str, list[Mapping[str, object]]] = {}
        for text, values in self._put_off:
            alike.setdefault(text, []).append(values)
        self.forget()
        for text, rows in alike.items():
            self._cursor.executemany(text, rows)

    def _execute(self, statement: Statement, values: dict[str, object]) -> None:
        if statement.fixed:
            values |= statement.fixed
        self._cursor.execute(statement.text, values)
