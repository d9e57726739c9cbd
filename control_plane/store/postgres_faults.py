"""What PostgreSQL's errors mean to a caller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa
from psycopg import errors

from control_plane.domain.errors import InvalidArgument, StorageUnavailable
from wire.refusal import Refusal

_RESUMES = "Reading goes on meanwhile, and writing resumes by itself."
_RECONNECTS = "The control plane connects again by itself. Look whether PostgreSQL runs and can be reached."
_NOT_LET_IN = (
    "Look whether it runs, can be reached, and has this database and user; the control plane tries again by itself. "
    "A password comes from PGPASSWORD, a passfile, or the file of --database-file."
)
_SLOW = ("PostgreSQL did not answer in time.", "Look at its load, its locks and its disk, then repeat the request.")
_ENDED = ("PostgreSQL ended the connection.", _RECONNECTS)

# SQLSTATE, or its class in two letters -> what happened, what to do next.
_FAULTS: Mapping[str, tuple[str, str]] = {
    "08": _ENDED,
    "25P03": _ENDED,
    "25006": (
        "PostgreSQL is read-only.",
        "Name the server that takes writes, or all of them with target_session_attrs=read-write. Reading goes on.",
    ),
    "40": ("Other sessions of the database changed the same rows.", "Repeat the request."),
    "42P01": (
        "The database has lost its tables.",
        "Restore a backup; without one, start the control plane again: it makes them anew.",
    ),
    "42501": (
        "The user may not use the tables.",
        "Make the user of the address owner of the database, or grant it CREATE on its schema and all on its tables.",
    ),
    "53100": ("The disk of PostgreSQL is full.", f"Free some space on it. {_RESUMES}"),
    "53200": ("There was no memory left for PostgreSQL.", "Give it more, then repeat the request."),
    "55P03": (
        "Another session holds the database's counter.",
        "End the session that is idle in transaction (pg_stat_activity names it). " + _RESUMES,
    ),
    "57014": _SLOW,
    "57": ("PostgreSQL is stopping or starting.", _RECONNECTS),
    "58": (
        "PostgreSQL failed to read or write its files.",
        "Look for disk errors in its log, then repeat the request.",
    ),
    "XX": ("The database is damaged.", "Look at PostgreSQL's log, and restore a backup when it says so."),
}


@contextmanager
def refusals() -> Iterator[None]:
    try:
        yield
    except (psycopg.Error, sa.exc.DBAPIError) as error:
        if (refusal := refusal_of(error)) is None:
            raise
        raise refusal from error


def refusal_of(error: BaseException) -> Refusal | None:
    """None: the fault is a programmer's."""
    if isinstance(error, sa.exc.DBAPIError):
        return refusal_of(error.orig) if error.orig is not None else None
    if isinstance(error, psycopg.DataError):
        return InvalidArgument(f"PostgreSQL cannot keep this: {_line(error)}.", "Leave that out of the request.")
    if not isinstance(error, psycopg.Error):
        return None
    state = error.sqlstate or ""
    known = _FAULTS.get(state) or _FAULTS.get(state[:2])
    if known is not None:
        return StorageUnavailable(*known, cause=_line(error))
    if isinstance(error, psycopg.OperationalError):
        # No state: nobody answered, or the session was refused before it began, which libpq tells in words alone.
        return StorageUnavailable(f"PostgreSQL cannot be used: {_line(error)}.", _NOT_LET_IN, cause=_line(error))
    return None


def is_passing(error: BaseException) -> bool:
    return isinstance(error, (errors.DeadlockDetected, errors.SerializationFailure))


def _line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0].removesuffix(".") if lines else type(error).__name__
