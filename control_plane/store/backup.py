"""A copy of an SQLite database that is in use, and how it is put back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from control_plane.domain.errors import StorageUnavailable
from control_plane.store import integrity, schema
from control_plane.store.backup_history import begin_anew
from control_plane.store.counters import StoredCounters
from control_plane.store.integrity import Facts
from control_plane.store.session import Session
from control_plane.store.sqlite import refusals
from control_plane.store.statements import Statements

PAGES_AT_ONCE = 2048

Progress = Callable[[int, int], None]
"""Called with what is done and what there is in all, in one unit."""


def copy_database(path: Path, target: Path, progress: Progress) -> Facts:
    """Everything that was committed when it began, into the new file `target`; writers go on meanwhile.

    StorageUnavailable when there is none, it is damaged, or `target` has no room.
    """
    with integrity.reading(path) as source:
        # The snapshot is taken by the first read. Without one, each commit meanwhile would start the copy anew.
        found = integrity.facts(source)
        target.touch(mode=0o600)
        with _room(target), closing(sqlite3.connect(target)) as copy:
            source.backup(copy, pages=PAGES_AT_ONCE, progress=lambda _, left, total: progress(total - left, total))
            # One file without a log beside it.
            copy.execute("PRAGMA journal_mode = DELETE")
    check(target)
    return found


@contextmanager
def _room(target: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StorageUnavailable(
            f"The database cannot be copied into {target.parent}: {error}.",
            "Name a folder with room for all of it.",
            cause=str(error),
        ) from error


def check(path: Path) -> Facts:
    """StorageUnavailable unless the whole file is sound."""
    with integrity.reading(path) as connection:
        if found := integrity.damages(connection):
            raise StorageUnavailable(
                f"The database {path.name} is damaged: {'; '.join(found)}.",
                "Restore the newest backup that is whole: arwctl admin restore FILE",
                cause=found[0],
            )
        return integrity.facts(connection)


def renew(path: Path) -> str:
    """Bring a copy to this version's schema and give it a new history, whose id is returned."""
    engine = sa.create_engine(sa.URL.create("sqlite+pysqlite", database=str(path)), poolclass=sa.NullPool)
    with refusals(), engine.begin() as connection:
        schema.bring_up_to_date(connection)
        statements = Statements(sqlite.dialect(paramstyle="named"), sqlite.insert)
        session = Session(connection.connection.cursor(), statements)
        return begin_anew(session, StoredCounters(session))
