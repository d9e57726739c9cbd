"""A database that this user may not use is refused in words, and nothing of it is changed."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

OPEN = """
import asyncio, os, sys
from pathlib import Path
from control_plane.domain.errors import StorageUnavailable
from control_plane.store.sqlite import SqliteStore
from tests.fakes.store_rows import StandingClock

if os.geteuid() == 0:
    os.setuid(65534)
try:
    asyncio.run(SqliteStore.open(Path(sys.argv[1]), StandingClock()))
except StorageUnavailable as refusal:
    print(refusal.text, refusal.remedy, sep="|")
"""


@pytest.fixture
def file() -> Iterator[Path]:
    """A sound database in a folder that another user reaches."""
    folder = Path(tempfile.mkdtemp(prefix="arw-integrity-"))
    folder.chmod(0o755)
    with closing(sqlite3.connect(folder / "arw.db")) as made:
        made.execute("CREATE TABLE kept (a)")
    yield folder / "arw.db"
    folder.chmod(0o755)
    shutil.rmtree(folder)


def refused(file: Path) -> list[str]:
    """What happened and what to do, for a user without rights."""
    done = subprocess.run([sys.executable, "-c", OPEN, file], capture_output=True, text=True, check=True)
    return done.stdout.strip().split("|")


def test_a_file_that_may_only_be_read_is_refused_and_kept(file: Path) -> None:
    before = file.read_bytes()
    file.chmod(0o444)
    file.parent.chmod(0o555)
    text, remedy = refused(file)
    assert "cannot be" in text
    assert "write" in remedy
    assert file.read_bytes() == before


def test_a_folder_without_permission_is_refused(file: Path) -> None:
    file.parent.chmod(0o000)
    text, remedy = refused(file)
    assert "cannot be opened" in text
    assert "folder" in remedy


def test_a_folder_in_place_of_the_file_is_refused(file: Path) -> None:
    file.unlink()
    file.mkdir()
    text, remedy = refused(file)
    assert text
    assert remedy
    assert list(file.iterdir()) == []
