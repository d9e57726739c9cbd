"""Processes of this machine, known by pid, start time, boot and the lock they hold: a pid alone is never trusted."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from arw_client import ArwError

POLL_S = 0.01
TAIL_LINES = 12


@dataclass(frozen=True, slots=True)
class Running:
    """What a serving process wrote into its run.json."""

    pid: int
    start_ticks: int
    boot_id: str
    lock: str = ""
    """Device and inode of the lock that it holds; empty in records of older processes."""

    @property
    def alive(self) -> bool:
        return self.boot_id == boot_id() and start_ticks(self.pid) == self.start_ticks

    def send(self, number: signal.Signals) -> None:
        """Signal it if it is still the process that was meant."""
        try:
            held = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive:
                signal.pidfd_send_signal(held, number)
        finally:
            os.close(held)


def running(run_file: Path) -> Running | None:
    """The live process behind a run.json; None when there is none, or when the folder's lock is not its own.

    A folder that was copied brings the record of a process which serves another one.
    """
    try:
        found = json.loads(run_file.read_text())
        recorded = Running(
            int(found["pid"]), int(found["start_ticks"]), str(found["boot_id"]), str(found.get("lock", ""))
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return recorded if recorded.alive and _is_locked(run_file.with_name("lock"), recorded.lock) else None


def _is_locked(lock: Path, mark: str) -> bool:
    """Whether somebody holds this lock, and it is the one marked.

    Ask only beside the record of a living process: asking takes a free lock for a moment.
    """
    try:
        with lock.open() as handle:
            seen = os.fstat(handle.fileno())
            if mark in {"", f"{seen.st_dev}:{seen.st_ino}"}:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None when there is no such process, or it has ended and waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold spaces; state is the first field after it.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else int(fields[18])


def program(name: str) -> str:
    """The console script beside this interpreter, or on PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise ArwError("NOT_FOUND", f"The program {name} is not installed.", "Install ARW whole: `make setup`.")
    return found


class Child:
    """A process that outlives us: nobody is told when it is not waited for."""

    def __init__(self, pid: int, stdin: int = -1) -> None:
        self.pid = pid
        self._stdin = stdin
        self._status: int | None = None

    def tell(self, text: str) -> None:
        """All of its standard input, when it was spawned without; short. One that has ended hears nothing."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._stdin, text.encode())
        os.close(self._stdin)

    def poll(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None while it runs."""
        if self._status is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if ended else None
        return self._status


def spawn(command: Sequence[str], log: Path, given: str | None = "") -> Child:
    """Start a process in a session of its own; its output goes to the end of `log`, `given` (short) to its input.

    None: its input stays open, for `Child.tell`, and ends when we do.
    """
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    appended = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    reader, writer = os.pipe()
    try:
        actions = [
            (os.POSIX_SPAWN_DUP2, reader, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), appended, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        pid = os.posix_spawn(command[0], list(command), os.environ, file_actions=actions, setsid=True)
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    child = Child(pid, writer)
    if given is not None:
        child.tell(given)
    return child


async def completed(command: Sequence[str], given: str = "", timeout_s: float = 60.0) -> tuple[int, str]:
    """Run to the end; the exit status, and what it said on standard error."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            _, said = await process.communicate(given.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        return -signal.SIGKILL, f"it did not end within {timeout_s:g} s"
    return process.returncode or 0, said.decode(errors="replace")


async def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether the condition came true in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(POLL_S)
    return True


def tail(log: Path, since: int = 0) -> list[str]:
    """The last lines of a log, of those written after byte `since`."""
    try:
        with log.open("rb") as file:
            file.seek(max(since, log.stat().st_size - 65536))
            return file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    except OSError:
        return []
