"""All processes of one launch, wherever they hid: by cgroup, by the lock they inherited, by their parents."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self, TypeVar

from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.process import start_ticks
from node_agent.runtimes.records import RunRecord

CGROUPS = Path("/sys/fs/cgroup")
POLL = 0.02
LEAF_TRIES = 10
LOCKS = ("/lock", "/lock (deleted)")
"""How /proc ends the names of locks: no other file is looked at, for that could hang on a disk that is gone."""
Seen = TypeVar("Seen")
_SCANS = ThreadPoolExecutor(1, "process-scan")
"""A look through every process takes milliseconds, which whoever waits for the loop would pay."""


class Tree:
    """The processes of a launch but for its shim, which ends by itself and leaves the exit record."""

    def __init__(self, home: InstanceDirectory, run: RunRecord | None) -> None:
        self._home = home
        self._run = run
        self._shim = run.shim_pid if run and start_ticks(run.shim_pid) == run.shim_start_ticks else 0

    def members(self) -> set[int]:
        found = self._in_cgroups() | lock_holders(self._home.lock)
        if self._shim and self._shim in found:
            found |= descendants(self._shim)
        return found - {self._shim, os.getpid()}

    def kill(self) -> None:
        """SIGKILL every member. A pid counts only if it still is one once it is held."""
        for leaf in self._leaves():
            with contextlib.suppress(OSError):
                (leaf / "cgroup.kill").write_text("1", encoding="ascii")
        held = {pid: held for pid in self.members() if (held := _held(pid)) is not None}
        still = self.members()
        for pid, descriptor in held.items():
            if pid in still:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)

    async def kill_all(self, patience: timedelta) -> bool:
        """Kill until nothing is left. False: something survives SIGKILL."""
        deadline = asyncio.get_running_loop().time() + patience.total_seconds()
        while not await self._is_gone():
            if asyncio.get_running_loop().time() > deadline:
                return False
            await scanned(self.kill)
            await asyncio.sleep(POLL)
        await self._remove_leaves()
        return True

    async def _is_gone(self) -> bool:
        if self._is_surely_gone():
            return True
        left = await scanned(self.members)
        return not left

    def _is_surely_gone(self) -> bool:
        """Known without a look at every process: its groups are empty, and nobody holds the lock that its shim made.

        With another file in the lock's place, as out of a backup, a free lock says nothing.
        """
        if self._run is None or self._run.lock != _Lock.of(self._home.lock).file:
            return False
        return not self._in_cgroups() and self._home.lock_is_free()

    def _leaves(self) -> list[Path]:
        """Only groups that carry this launch's own name: a run.json that names another's is not believed."""
        if self._run is None:
            return []
        name = self._home.cgroup_leaf(self._run.incarnation)
        paths = [Path(path) for path in self._run.cgroup_paths]
        return [path for path in paths if path.is_relative_to(CGROUPS) and path.name == name and ".." not in path.parts]

    def _in_cgroups(self) -> set[int]:
        pids: set[int] = set()
        for leaf in self._leaves():
            with contextlib.suppress(OSError):
                pids.update(int(pid) for pid in (leaf / "cgroup.procs").read_text(encoding="ascii").split())
        return pids

    async def _remove_leaves(self) -> None:
        """Who is on its way out has left the list of its group, and not the group, for a moment more."""
        for leaf in self._leaves():
            for _ in range(LEAF_TRIES):
                with contextlib.suppress(OSError):
                    leaf.rmdir()
                if not leaf.exists():
                    break
                await asyncio.sleep(POLL)


async def scanned(look: Callable[[], Seen]) -> Seen:
    """Looked in a thread. A cancellation waits for its end too: a kill that came late would meet the next launch."""
    looking = asyncio.get_running_loop().run_in_executor(_SCANS, look)
    try:
        return await asyncio.shield(looking)
    except asyncio.CancelledError:
        await asyncio.wait([looking])
        raise


def lock_holders(lock: Path) -> set[int]:
    """Processes that hold the instance's lock: it is taken by the shim and inherited by the whole tree.

    Whoever merely has the file open, as who makes a backup of it, is none.
    """
    instance = _Lock.of(lock)
    return {pid for pid in _pids() if instance.is_open_in(pid)}


def holds_lock(pid: int, lock: Path) -> bool:
    return _Lock.of(lock).is_open_in(pid)


@dataclass(frozen=True, slots=True)
class _Lock:
    file: tuple[int, int] | None
    """Device and inode; None while there is no file."""
    removed: str
    """How /proc names a lock of this path that was removed, as when the directory was put back from a backup."""

    @classmethod
    def of(cls, path: Path) -> Self:
        removed = f"{path.resolve()} (deleted)"
        try:
            seen = path.lstat()
        except OSError:
            return cls(None, removed)
        return cls((seen.st_dev, seen.st_ino), removed)

    def is_open_in(self, pid: int) -> bool:
        try:
            descriptors = [entry.path for entry in os.scandir(f"/proc/{pid}/fd")]
        except OSError:
            return False
        return any(self._is_behind(path) for path in descriptors)

    def _is_behind(self, descriptor: str) -> bool:
        try:
            name = os.readlink(descriptor)  # noqa: PTH115 - a Path for every descriptor of the machine is too dear
            return name.endswith(LOCKS) and self._is_file(Path(descriptor), name) and _is_locked(descriptor)
        except OSError:
            return False

    def _is_file(self, descriptor: Path, name: str) -> bool:
        seen = descriptor.stat()
        return (seen.st_dev, seen.st_ino) == self.file or (seen.st_nlink == 0 and name == self.removed)


def _is_locked(descriptor: str) -> bool:
    """Whether the lock was taken through this very opening of the file."""
    return "FLOCK" in Path(descriptor.replace("/fd/", "/fdinfo/")).read_text(encoding="ascii")


def descendants(root: int) -> set[int]:
    parents = {pid: parent for pid in _pids() if (parent := _parent(pid)) is not None}
    found: set[int] = set()
    layer = {root}
    while layer:
        layer = {pid for pid, parent in parents.items() if parent in layer} - found
        found |= layer
    return found


def _held(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - the cheap way, thousands of times


def _parent(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, parent = text.rpartition(")")[2].split()[:2]
    return int(parent) if state != "Z" else None
