import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from node_agent.disk.database import Database
from node_agent.disk.desired import SqliteDesired
from node_agent.disk.digests import DiskDigests
from node_agent.disk.high_water import HighWater
from node_agent.domain.errors import StorageUnavailable
from node_agent.domain.spec import EngineSettings, Hold, InstanceName, RestartPolicy, RestoreOrder
from node_agent.use_cases.ports import DesiredSnapshot, HeldInstance
from tests.fakes.immutable import FIX, fixable
from tests.fakes.instance_specs import NAME, spec

RICH = spec(
    settings=EngineSettings(slots=2, embeddings=True, pooling="cls"),
    restart=RestartPolicy(7, timedelta(minutes=5)),
    holds=frozenset({Hold("a", 1), Hold("b", 2)}),
    restore=RestoreOrder(3, reset_budget=True),
)
Desired = Callable[[Database], SqliteDesired]
OTHER = replace(spec(), name=InstanceName("nodes/n/instances/other"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database(path)
    yield opened
    opened.close()


@pytest.fixture
def desired_in(tmp_path: Path) -> Desired:
    return lambda database: SqliteDesired(database, HighWater(tmp_path / "instances" / "desired.json"))


def test_nothing_stored_is_an_empty_snapshot(desired_in: Desired, database: Database) -> None:
    assert desired_in(database).load() == DesiredSnapshot()


def test_what_was_stored_is_there_after_a_crash(desired_in: Desired, database: Database, path: Path) -> None:
    desired_in(database).apply("h", 5, [RICH, OTHER], [])
    again = Database(path)
    assert desired_in(again).load() == DesiredSnapshot("h", 5, (RICH, OTHER))
    again.close()


def test_a_chunk_that_is_not_the_last_leaves_the_revision(desired_in: Desired, database: Database) -> None:
    store = desired_in(database)
    store.apply("h", 5, [], [])
    store.apply("h", None, [RICH], [])
    assert store.load() == DesiredSnapshot("h", 5, (RICH,))


def test_removals_and_changes_are_one_step(desired_in: Desired, database: Database) -> None:
    store = desired_in(database)
    store.apply("h", 1, [RICH], [])
    store.apply("h", 2, [OTHER, replace(RICH, revision=2)], [NAME])
    assert {one.name: one.revision for one in store.load().specs} == {OTHER.name: 1, NAME: 2}


def test_the_file_is_this_users_alone(database: Database, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


READ_ONLY = """
from pathlib import Path
from node_agent.disk.database import Database
from node_agent.domain.errors import StorageUnavailable

def put(number):
    with database.transaction() as connection:
        connection.execute("INSERT INTO read_speed VALUES (?, '', 0)", [number])

def count():
    with database.reading() as connection:
        return connection.execute("SELECT count(*) FROM read_speed").fetchone()[0]

database = Database(Path(sys.argv[1]))
put(1)
count()
put(2)
fixed()
for call in (count, lambda: put(3)):
    try:
        print(call())
    except StorageUnavailable as refusal:
        print(refusal)
loose()
put(4)
print(count())
database.close()
"""


def test_where_nobody_may_write_any_more_the_agent_is_told_and_lives(tmp_path: Path) -> None:
    with fixable(tmp_path):
        command = [sys.executable, "-c", FIX + READ_ONLY, str(tmp_path / "agent.db")]
        lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=30).stdout.splitlines()
    assert ["cannot be used" in line for line in lines] == [True, True, False]
    assert lines[2] == "3"


def test_a_full_disk_is_told_and_keeps_what_was_there(desired_in: Desired, database: Database) -> None:
    store = desired_in(database)
    store.apply("h", 1, [RICH], [])
    with database.reading() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")
    many = [replace(spec(), name=InstanceName(f"nodes/n/instances/{number}")) for number in range(200)]
    with pytest.raises(StorageUnavailable, match="full"):
        store.apply("h", 2, many, [])
    assert store.load() == DesiredSnapshot("h", 1, (RICH,))
    with database.reading() as connection:
        connection.execute("PRAGMA max_page_count=100000")
    store.apply("h", 2, many, [])
    assert len(store.load().specs) == 201


def test_a_directory_that_cannot_hold_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        Database(tmp_path / "nowhere" / "agent.db")


def test_a_file_that_is_no_database_is_told(path: Path) -> None:
    path.write_bytes(b"not a database, " * 100)
    with pytest.raises(StorageUnavailable):
        Database(path)


def test_specs_that_cannot_be_read_are_not_left_out_silently(
    desired_in: Desired, database: Database, path: Path
) -> None:
    desired_in(database).apply("h", 1, [RICH], [])
    with sqlite3.connect(path) as other:
        other.execute("UPDATE desired SET body = '{}'")
    other.close()
    with pytest.raises(StorageUnavailable, match="cannot be read"):
        desired_in(database).load()


def test_an_older_database_put_back_beside_the_instances_is_outdated(
    desired_in: Desired, database: Database, path: Path
) -> None:
    store = desired_in(database)
    store.apply("h", 5, [RICH], [])
    database.close()
    shutil.copy(path, path.with_name("backup"))
    later = Database(path)
    desired_in(later).apply("h", 6, [OTHER], [])
    assert not desired_in(later).load().outdated
    later.close()
    shutil.copy(path.with_name("backup"), path)
    restored = Database(path)
    assert desired_in(restored).load() == DesiredSnapshot("h", 5, (RICH,), outdated=True)
    desired_in(restored).apply("h", 6, [OTHER], [])
    assert not desired_in(restored).load().outdated, "the control plane has spoken"
    restored.close()


def test_a_database_of_another_history_than_was_acted_on_is_outdated(desired_in: Desired, database: Database) -> None:
    store = desired_in(database)
    store.apply("new", 2, [RICH], [])
    with database.transaction() as connection:
        connection.execute("UPDATE position SET history_id = 'old', revision = 9")
    assert store.load().outdated


@pytest.mark.parametrize("note", [b"", b"{", b"[]", None])
def test_without_a_note_that_can_be_read_the_database_is_believed(
    desired_in: Desired, database: Database, tmp_path: Path, note: bytes | None
) -> None:
    desired_in(database).apply("h", 5, [RICH], [])
    file = tmp_path / "instances" / "desired.json"
    file.unlink()
    if note is not None:
        file.write_bytes(note)
    assert not desired_in(database).load().outdated


def test_a_note_that_cannot_be_written_costs_no_stored_change(
    desired_in: Desired, database: Database, tmp_path: Path
) -> None:
    (tmp_path / "instances").write_text("in the way")
    desired_in(database).apply("h", 5, [RICH], [])
    assert desired_in(database).load() == DesiredSnapshot("h", 5, (RICH,))


def test_a_new_identity_begins_without_what_was_wanted_of_the_old_one(desired_in: Desired, database: Database) -> None:
    store = desired_in(database)
    store.apply("h", 5, [RICH], [], [HeldInstance(OTHER.name, 13.5, "boot", None)])
    store.forget()
    assert store.load() == DesiredSnapshot(outdated=True)


def long_after() -> int:
    """A minute from now, in nanoseconds."""
    return time.time_ns() + 60_000_000_000


def test_a_file_that_only_just_changed_is_read_again(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")
    digests = DiskDigests(database)
    digests.sha256(str(file))
    with database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM digest").fetchone() == (0,)


def test_a_digest_is_right_and_read_once(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")
    digests = DiskDigests(database, long_after)
    assert digests.sha256(str(file)) == hashlib.sha256(b"weights").hexdigest()
    with database.transaction() as connection:
        connection.execute("UPDATE digest SET sha256 = 'remembered'")
    assert digests.sha256(str(file)) == "remembered"


def test_a_change_that_hides_its_time_is_noticed(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")
    digests, seen = DiskDigests(database, long_after), file.stat()
    digests.sha256(str(file))
    file.write_bytes(b"forgery")
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert digests.sha256(str(file)) == hashlib.sha256(b"forgery").hexdigest()


def test_a_missing_file_has_no_digest(database: Database, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DiskDigests(database).sha256(str(tmp_path / "gone"))


def test_what_is_held_is_there_after_a_crash_and_replaced_as_a_whole(
    desired_in: Desired, database: Database, path: Path
) -> None:
    held = (HeldInstance(NAME, 12.5, "boot", RICH), HeldInstance(OTHER.name, 13.5, "boot", None))
    desired_in(database).apply("h", 2, [], [NAME], sorted(held, key=lambda one: one.name))
    again = Database(path)
    assert set(desired_in(again).load().held) == set(held)
    desired_in(again).apply("h", None, [], [], held[:1])
    assert desired_in(again).load().held == held[:1]
    again.close()
