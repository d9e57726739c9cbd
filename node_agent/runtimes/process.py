"""Processes that are not our children: known by pid, start time and boot, held by a descriptor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from datetime import timedelta
from pathlib import Path

MAX_PIDS = 1 << 22
"""The most that Linux gives out."""


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None for a process that is gone or only waits to be reaped."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return int(fields[19]) if fields[0] not in ("Z", "X") else None


class Process:
    """One process for as long as it is held: its pid cannot come to mean another."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor

    @classmethod
    def hold(cls, pid: int, ticks: int) -> Process | None:
        """The process that had this pid and start time, if it still runs. The time is read once the pid is held."""
        if not 0 < pid < MAX_PIDS:
            return None
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        if start_ticks(pid) != ticks:
            os.close(descriptor)
            return None
        return cls(pid, descriptor)

    @classmethod
    def child(cls, pid: int) -> Process:
        """Our own child, not yet reaped: its pid is still its own."""
        return cls(pid, os.pidfd_open(pid))

    @classmethod
    def gone(cls, pid: int) -> Process:
        """One that ended before it could be held."""
        return cls(pid, -1)

    @property
    def ended(self) -> bool:
        if self._descriptor < 0:
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def send(self, number: signal.Signals) -> None:
        if self._descriptor < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    async def wait(self, timeout: timedelta | None = None) -> bool:  # noqa: ASYNC109 - False is an ordinary answer
        """Whether it ended in time."""
        if self.ended:
            return True
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        own = os.dup(self._descriptor)
        loop.add_reader(own, done.set)
        try:
            # Not wait_for: up to 3.11 it can swallow a cancellation.
            async with asyncio.timeout(timeout.total_seconds() if timeout is not None else None):
                await done.wait()
        except TimeoutError:
            return self.ended
        finally:
            loop.remove_reader(own)
            os.close(own)
        return True

    def reap(self) -> int | None:
        """Exit status if it was our child; None for all others. Call it once it ended."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return None
        return os.waitstatus_to_exitcode(status) if pid else None

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
