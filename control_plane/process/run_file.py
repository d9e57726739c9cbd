"""Who runs on a state directory: a lock that dies with its holder, and a file that says where it listens."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from control_plane.domain.errors import InUse
from wire.atomic_file import write_atomically

_START_TICKS = 19
"""Field 22 of /proc/PID/stat, counted after the command name, which may hold blanks."""


@contextmanager
def locked(path: Path, run_file: Path) -> Iterator[None]:
    """Hold the lock. InUse, with the holder's pid, while another process has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(path, run_file) from None
        yield
    finally:
        os.close(handle)


@contextmanager
def announced(run_file: Path, lock: Path, ports: Mapping[str, int]) -> Iterator[None]:
    """While inside, the file says who serves, on which ports, and under which lock: a copied file names another's."""
    seen = lock.stat()
    identity = {
        "pid": os.getpid(),
        "start_ticks": start_ticks(os.getpid()),
        "boot_id": boot_id(),
        "ports": dict(ports),
        "lock": f"{seen.st_dev}:{seen.st_ino}",
    }
    write_atomically(run_file, json.dumps(identity, indent=2).encode())
    try:
        yield
    finally:
        run_file.unlink(missing_ok=True)


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def start_ticks(pid: int) -> int:
    """With the pid and the boot, what tells a process from a later one. OSError when there is none."""
    stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    return int(stat.rpartition(")")[2].split()[_START_TICKS])


def _in_use(path: Path, run_file: Path) -> InUse:
    pid = _pid(run_file)
    who = f"process {pid}" if pid else "another process that is just starting"
    return InUse(
        f"A control plane already uses {path.parent}: {who}.",
        f"Stop it first{f' (kill {pid})' if pid else ''}, or choose another --state-dir.",
        pid=str(pid or ""),
    )


def _pid(run_file: Path) -> int | None:
    try:
        return int(json.loads(run_file.read_bytes())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
