"""Crashes and full disks, on real processes and real files."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from control_plane.domain.errors import StorageUnavailable
from control_plane.store.sqlite import SqliteStore
from control_plane.use_cases.ports import Transaction
from tests.fakes.immutable import FIX, fixable
from tests.fakes.store_rows import StandingClock
from tests.fakes.stores import put_node

WRITER = """
import asyncio, sys
from pathlib import Path
from control_plane.store.sqlite import SqliteStore
from tests.fakes.store_rows import StandingClock
from tests.fakes.stores import put_node

async def client(store, first):
    for number in range(first, 1_000_000, 8):
        await store.write(put_node(f"n{number:07}"))
        print(number, flush=True)

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]), StandingClock())
    await asyncio.gather(*(client(store, first) for first in range(8)))

asyncio.run(main())
"""

FULL_DISK = """
import asyncio, contextlib, dataclasses, resource, signal, sys
from pathlib import Path
from control_plane.domain.errors import StorageUnavailable
from control_plane.store.sqlite import SqliteStore
from tests.fakes.store_rows import StandingClock, a_node
from tests.fakes.stores import put_node

@contextlib.contextmanager
def size_limit(path):
    resource.setrlimit(resource.RLIMIT_FSIZE, (512 * 1024, resource.RLIM_INFINITY))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

@contextlib.contextmanager
def ballast(path):
    filler = path.with_name("ballast")
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    yield
    filler.unlink()

def put_large(tx):
    for number in range(64):
        tx.nodes.put(dataclasses.replace(a_node(f"large{number}"), labels={"x": "x" * 65536}))

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = await SqliteStore.open(Path(sys.argv[1]), StandingClock())
    await store.write(put_node("before"))
    with globals()[sys.argv[2]](Path(sys.argv[1])):
        try:
            await store.write(put_large)
        except StorageUnavailable as refusal:
            print(refusal)
        print([node.id for node in await store.read(lambda tx: tx.nodes.all())])
    await store.write(put_node("after"))
    print([node.id for node in await store.read(lambda tx: tx.nodes.all())])
    await store.close()

asyncio.run(main())
"""

READ_ONLY = """
import asyncio
from pathlib import Path
from control_plane.domain.errors import StorageUnavailable
from control_plane.store.sqlite import SqliteStore
from tests.fakes.store_rows import StandingClock
from tests.fakes.stores import put_node

def names(tx):
    return [node.id for node in tx.nodes.all()]

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]), StandingClock())
    await store.write(put_node("before"))
    await store.read(names)
    await store.write(put_node("later"))
    fixed()
    for call in (store.read(names), store.write(put_node("lost"))):
        try:
            print(await call)
        except StorageUnavailable as refusal:
            print(refusal)
    loose()
    await store.write(put_node("after"))
    print(await store.read(names))
    await store.close()

asyncio.run(main())
"""


def _lines_of(*command: str) -> list[str]:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=30)
    return done.stdout.splitlines()


def _written_until_killed(path: Path) -> set[str]:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(300)]
        writer.kill()
        acknowledged += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    return {f"n{number:07}" for number in acknowledged}


async def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "arw.db"
    acknowledged = await asyncio.to_thread(_written_until_killed, path)
    store = await SqliteStore.open(path, StandingClock())
    stored = {node.id for node in await store.read(lambda tx: tx.nodes.all())}
    await store.close()
    assert acknowledged <= stored
    assert len(stored) <= len(acknowledged) + 8 * 2


def test_on_a_full_disk_writes_are_refused_and_reads_go_on(tmp_path: Path) -> None:
    # A user namespace of its own lets anybody mount the small disk, and takes it away with the process.
    mount = ["unshare", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"']
    if subprocess.run([*mount, tmp_path, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("this system lets nobody make a user namespace")
    lines = _lines_of(*mount, str(tmp_path), sys.executable, "-c", FULL_DISK, str(tmp_path / "arw.db"), "ballast")
    assert lines[0].startswith("The disk that holds the database is full. Free some space")
    assert lines[1:] == ["['before']", "['after', 'before']"]


def test_when_the_file_may_not_grow_writes_are_refused_and_reads_go_on(tmp_path: Path) -> None:
    lines = _lines_of(sys.executable, "-c", FULL_DISK, str(tmp_path / "arw.db"), "size_limit")
    assert lines[0].startswith("The disk that holds the database failed to read or write. Look for disk errors")
    assert lines[1:] == ["['before']", "['after', 'before']"]


def test_where_nobody_may_write_any_more_all_is_refused_and_the_process_lives(tmp_path: Path) -> None:
    """SQLite's index of its log is mapped: once it was written back, the kernel ends whoever writes there."""
    with fixable(tmp_path):
        lines = _lines_of(sys.executable, "-c", FIX + READ_ONLY, str(tmp_path / "arw.db"))
    assert all(line.startswith("The database cannot be written. Give the user") for line in lines[:2])
    assert lines[2:] == ["['after', 'before', 'later']"]


async def test_a_file_that_is_moved_away_takes_no_change_with_it(tmp_path: Path) -> None:
    path, away = tmp_path / "arw.db", tmp_path / "elsewhere.db"
    store = await SqliteStore.open(path, StandingClock())
    await store.write(put_node("before"))
    assert await store.read(_names) == ["before"]
    path.rename(away)
    with pytest.raises(StorageUnavailable, match="moved or removed while it was in use. Put arw.db"):
        await store.write(put_node("lost"))
    assert await store.read(_names) == ["before"], "what is open is read on"
    assert not path.exists(), "nobody made another in its place"
    away.rename(path)
    await store.write(put_node("after"))
    await store.close()
    opened = await SqliteStore.open(path, StandingClock())
    assert await opened.read(_names) == ["after", "before"]
    await opened.close()


@pytest.mark.parametrize("name", ["arw.db", "arw.db-wal"])
async def test_a_file_that_is_removed_or_replaced_takes_no_change_with_it(tmp_path: Path, name: str) -> None:
    store = await SqliteStore.open(tmp_path / "arw.db", StandingClock())
    await store.write(put_node("before"))
    copy = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="moved or removed while it was in use"):
            await store.write(put_node("lost"))
        (tmp_path / name).write_bytes(copy)
    await store.close()


def _names(tx: Transaction) -> list[str]:
    return [node.id for node in tx.nodes.all()]
