"""One database connection, as the transaction sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from control_plane.store.statements import Statement, Statements

Record = tuple[Any, ...]


class Cursor(Protocol):
    """The part of a DB-API cursor that is used."""

    @property
    def rowcount(self) -> int: ...

    def execute(self, operation: str, parameters: Any = ..., /) -> object: ...

    def fetchall(self) -> Sequence[Any]: ...


class Session:
    """Runs compiled statements on one cursor; the driver's errors pass through."""

    def __init__(self, cursor: Cursor, statements: Statements) -> None:
        self.statements = statements
        self._cursor = cursor

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

    def _execute(self, statement: Statement, values: dict[str, object]) -> None:
        if statement.fixed:
            values |= statement.fixed
        self._cursor.execute(statement.text, values)
