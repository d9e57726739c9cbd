"""What the agent knows of how fast its storage is."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from node_agent.disk.database import Database
from node_agent.disk.digests import DiskDigests
from node_agent.disk.read_speeds import KEPT, SMALLEST_BYTES, ReadSpeeds


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "agent.db")
    yield made
    made.close()


def sized(path: Path, size: int) -> os.stat_result:
    with path.open("wb") as file:
        file.truncate(size)
    return path.stat()


def test_making_a_digest_of_a_big_file_tells_how_fast_it_was_read(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    sized(file, SMALLEST_BYTES)
    assert DiskDigests(database).read_speed(str(file)) is None
    DiskDigests(database).sha256(str(file))
    speed = DiskDigests(database).read_speed(str(file))
    assert speed is not None
    assert speed > 1_000_000


def test_the_slowest_of_the_last_readings_counts_and_older_ones_are_forgotten(
    database: Database, tmp_path: Path
) -> None:
    file, speeds = tmp_path / "model.gguf", ReadSpeeds(database)
    seen = sized(file, SMALLEST_BYTES)
    speeds.seen(seen, 8.0)
    speeds.seen(seen, 1.0)
    assert speeds.of(str(file)) == SMALLEST_BYTES // 8
    for _ in range(KEPT):
        speeds.seen(seen, 2.0)
    assert speeds.of(str(file)) == SMALLEST_BYTES // 2


def test_a_small_file_and_a_missing_one_tell_nothing(database: Database, tmp_path: Path) -> None:
    speeds = ReadSpeeds(database)
    speeds.seen(sized(tmp_path / "small", SMALLEST_BYTES - 1), 1.0)
    assert speeds.of(str(tmp_path / "small")) is None
    assert speeds.of(str(tmp_path / "gone")) is None
