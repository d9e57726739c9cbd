"""The schema's history, from nothing to now."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from cryptography.hazmat.primitives.serialization import Encoding

from control_plane.domain.authority import Authority, AuthorityState
from control_plane.domain.errors import StorageUnavailable
from control_plane.domain.ids import AuthorityId
from control_plane.store import migrations, schema
from control_plane.store.sqlite import SqliteStore
from control_plane.store.tables import metadata
from control_plane.trust.authority import Lifetimes, self_signed
from tests.fakes.store_rows import NOON, StandingClock, a_node
from tests.fakes.store_rows_of_old import fill
from tests.fakes.stores import put_node
from wire.credentials import key_id, new_key


async def _opened_once(path: Path) -> None:
    store = await SqliteStore.open(path, StandingClock())
    await store.write(put_node("a"))
    await store.close()


def test_the_newest_schema_is_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [schema.NEWEST]


def _made_by(make: Callable[[sa.Connection], None], path: Path) -> list[tuple[str, ...]]:
    """Every column, index and version row of a database that `make` made."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        make(connection)
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    with closing(sqlite3.connect(path)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master ORDER BY name")]
        facts = [(name, *map(str, row)) for name in names for row in database.execute(f"PRAGMA table_info({name})")]
        facts += [(name, *map(str, row)) for name in names for row in database.execute(f"PRAGMA index_info({name})")]
        return [*facts, *database.execute("SELECT version_num FROM alembic_version")]


def test_a_new_database_is_what_all_migrations_make(tmp_path: Path) -> None:
    made = _made_by(schema.create, tmp_path / "created.db")
    assert made == _made_by(schema.migrate, tmp_path / "migrated.db")
    assert (schema.NEWEST,) in made


@pytest.mark.parametrize("released", ["0001", "0002"])
async def test_the_database_of_an_older_release_is_migrated_with_all_its_rows(tmp_path: Path, released: str) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'arw.db'}")
    with engine.begin() as connection:
        schema.migrate(connection, released)
        fill(connection)
    engine.dispose()
    store = await SqliteStore.open(tmp_path / "arw.db", StandingClock())
    try:
        assert await store.read(lambda tx: (tx.history_id(), tx.revision())) == ("old", 7)
        assert await store.read(lambda tx: tx.nodes.all()) == [a_node("a")]
    finally:
        await store.close()


async def test_opening_again_keeps_rows_and_history(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "arw.db", StandingClock())
    history = await store.read(lambda tx: tx.history_id())
    await store.write(put_node("a"))
    await store.close()
    again = await SqliteStore.open(tmp_path / "arw.db", StandingClock())
    assert await again.read(lambda tx: (tx.history_id(), tx.nodes.all())) == (history, [a_node("a")])
    await again.close()


async def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    await _opened_once(tmp_path / "arw.db")
    with closing(sqlite3.connect(tmp_path / "arw.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    with pytest.raises(StorageUnavailable, match="9999") as refusal:
        await SqliteStore.open(tmp_path / "arw.db", StandingClock())
    assert "newer version" in refusal.value.remedy


async def test_a_migration_that_was_cut_off_leaves_nothing_half_made(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'arw.db'}", connect_args={"isolation_level": None})
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        schema.bring_up_to_date(connection)
        connection.exec_driver_sql("ROLLBACK")
        assert sa.inspect(engine).get_table_names() == []
    engine.dispose()


async def test_the_one_authority_of_an_older_schema_is_the_active_one(tmp_path: Path) -> None:
    key = new_key()
    certificate = self_signed(key, NOON, Lifetimes())
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'arw.db'}")
    with engine.begin() as connection:
        schema.migrate(connection, "0002")
        fill(connection)
        row = {"certificate": certificate.public_bytes(Encoding.DER), "sealed_key": b"sealed"}
        words = "INSERT INTO authority (id, certificate, sealed_key) VALUES (1, :certificate, :sealed_key)"
        connection.execute(sa.text(words), row)
    engine.dispose()
    store = await SqliteStore.open(tmp_path / "arw.db", StandingClock())
    try:
        (found,) = await store.read(lambda tx: tx.authorities.all())
    finally:
        await store.close()
    expected = AuthorityId(key_id(certificate))
    assert found == Authority(expected, AuthorityState.ACTIVE, row["certificate"], row["sealed_key"])


def test_an_authority_that_is_damaged_does_not_keep_a_database_from_being_migrated(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'arw.db'}")
    with engine.begin() as connection:
        schema.migrate(connection, "0002")
        connection.exec_driver_sql("INSERT INTO authority (id, certificate) VALUES (1, x'00')")
        schema.migrate(connection)
        assert connection.exec_driver_sql("SELECT id FROM authorities").all() == [("damaged",)]
    engine.dispose()
