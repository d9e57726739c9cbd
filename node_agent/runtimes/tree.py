"""All processes of one launch, wherever they hid: by cgroup, by the lock they inherited, by their parents."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.process import start_ticks
from node_agent.runtimes.records import RunRecord

CGROUPS = Path("/sys/fs/cgroup")
POLL = 0.02


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
        while self.members():
            if asyncio.get_running_loop().time() > deadline:
                return False
            self.kill()
            await asyncio.sleep(POLL)
        self._remove_leaves()
        return True

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

    def _remove_leaves(self) -> None:
        for leaf in self._leaves():
            with contextlib.suppress(OSError):
                leaf.rmdir()


def lock_holders(lock: Path) -> set[int]:
    """Processes with the instance's lock open: it is made by the shim and inherited by the whole tree."""
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
            seen = os.stat(descriptor)  # noqa: PTH116 - a Path for every descriptor of the machine is too dear
            return (seen.st_dev, seen.st_ino) == self.file or (
                seen.st_nlink == 0 and os.readlink(descriptor) == self.removed  # noqa: PTH115 - as above
            )
        except OSError:
            return False


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
