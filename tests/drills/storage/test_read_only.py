"""A database that becomes read-only under a running control plane, as when a disk fails and is remounted."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from arw.v1.runtime_service_pb2 import ListRuntimesRequest
from tests.fakes.deaf_watchers import operator_channel
from tests.fakes.lone_plane import LonePlane, lone_plane
from wire.error_status import refusal_of

pytestmark = pytest.mark.timeout(60)


@contextmanager
def immutable(folder: Path) -> Iterator[None]:
    files = [str(file) for file in folder.glob("arw.db*")]
    done = subprocess.run(["/usr/bin/env", "chattr", "+i", *files], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file can be made read-only here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["/usr/bin/env", "chattr", "-i", *files], check=True)


async def declared(plane: LonePlane) -> set[str]:
    async with operator_channel(plane.folder / "context.json") as channel:
        plane.channel = channel
        answer = await plane.runtimes.ListRuntimes(ListRuntimesRequest(page_size=100), timeout=10)
    return {runtime.id for runtime in answer.runtimes}


async def test_a_database_that_becomes_read_only_costs_nothing_acknowledged_and_the_next_start_says_why() -> None:
    """SQLite's index of its log is mapped memory: the kernel may end a process that cannot write there."""
    async with lone_plane() as plane:
        await plane.declare(5, 1)
        process = plane.process.process
        assert process
        with immutable(plane.folder / "control_plane"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await plane.declare(9, 1)
            assert refusal_of(refused.value).remote_reason in ("STORAGE_UNAVAILABLE", "UNAVAILABLE")
            plane.process.end()
            said = plane.process._command("run")
            assert said.returncode == 2
            assert "error: The database cannot be" in said.stderr
            assert "next:  " in said.stderr
        plane.process.start()
        assert await declared(plane) == {f"r{number}" for number in range(5)}
