"""Brings a database to this version's schema."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa

from control_plane.domain.errors import StorageUnavailable
from control_plane.store.tables import meta, metadata

NEWEST = "0005"
"""Known here so that a database already there need not load Alembic."""


def bring_up_to_date(connection: sa.Connection) -> None:
    """Migrate inside the connection's transaction. StorageUnavailable when a newer version made the database."""
    found = _found(connection)
    if found is not None and found > NEWEST:
        raise StorageUnavailable(
            f"The database has schema {found}; this version of ARW knows schemas up to {NEWEST}.",
            "Start the newer version of ARW that wrote it, or restore a backup made by this version.",
            schema=found,
        )
    if found is None:
        create(connection)
    elif found != NEWEST:
        migrate(connection)
    _begin_history(connection)


def create(connection: sa.Connection) -> None:
    """The newest schema at once; a test holds it equal to what all migrations make."""
    metadata.create_all(connection)
    version = sa.Table(
        "alembic_version",
        sa.MetaData(),
        sa.Column("version_num", sa.String(32)),
        sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
    )
    version.create(connection)
    connection.execute(sa.insert(version).values(version_num=NEWEST))


def _found(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    version = sa.column("version_num", sa.Text())
    return connection.scalar(sa.select(version).select_from(sa.table("alembic_version")))


def migrate(connection: sa.Connection, to: str = "head") -> None:
    """From whatever is there to the newest schema, or to an older one."""
    # Loading Alembic costs half a second, which only the first start of a newer version pays.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _begin_history(connection: sa.Connection) -> None:
    if connection.execute(sa.select(meta.c.id)).first() is None:
        first = sa.insert(meta).values(id=1, history_id=uuid4().hex, revision=0, compacted_revision=0, last_event_id=0)
        connection.execute(first)
