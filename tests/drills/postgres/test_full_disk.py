"""PostgreSQL on a disk that is full: a small file system of its own."""

from __future__ import annotations

import asyncio
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from control_plane.domain.errors import StorageUnavailable
from control_plane.store.postgres import PostgresStore
from control_plane.use_cases.ports import Transaction
from tests.fakes.patience import SLACK
from tests.fakes.postgres import PostgresServer
from tests.fakes.store_rows import StandingClock, a_node
from tests.fakes.stores import put_node

pytestmark = pytest.mark.timeout(120)
DISK_MIB = 160


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with tempfile.TemporaryDirectory(prefix="arw-pg-", dir="/tmp") as folder, small_disk(Path(folder)):
        made = PostgresServer(Path(folder))
        made.create()
        made.start()
        try:
            yield made
        finally:
            made.stop(signal.SIGQUIT)


@contextmanager
def small_disk(at: Path) -> Iterator[None]:
    command = ["/usr/bin/env", "mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0700", "drill", str(at)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["/usr/bin/env", "umount", "--lazy", str(at)], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Not a byte is free."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    try:
        yield
    finally:
        ballast.unlink()


def put_large(name: str) -> Callable[[Transaction], None]:
    """A row of random letters, which do not compress."""
    labels = {"filler": secrets.token_hex(30_000)}
    return lambda tx: tx.nodes.put(replace(a_node(name), labels=labels))


async def test_on_a_full_disk_writes_are_refused_reads_go_on_and_nothing_acknowledged_is_lost(
    server: PostgresServer,
) -> None:
    store = await PostgresStore.open(server.new_database(), StandingClock())
    await store.write(put_node("a"))
    kept, refusal = ["a"], None
    with filled(server.folder):
        while refusal is None:
            name = f"n{len(kept)}"
            try:
                await store.write(put_large(name))
                kept.append(name)
            except StorageUnavailable as refused:
                refusal = refused
        assert "disk of PostgreSQL is full" in refusal.text
        assert "resumes by itself" in refusal.remedy
        assert [node.id for node in await store.read(lambda tx: tx.nodes.all())] == sorted(kept)
    async with asyncio.timeout(20 * SLACK):
        while True:
            with suppress(StorageUnavailable):
                await store.write(put_node("later"))
                break
            await asyncio.sleep(0.1)
    assert [node.id for node in await store.read(lambda tx: tx.nodes.all())] == sorted([*kept, "later"])
    await store.close()
