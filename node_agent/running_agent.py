"""One agent per state directory: its lock, its record, and how to end it from outside."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from functools import partial

from node_agent.domain.errors import AlreadyRunning
from node_agent.identity.files import IdentityFiles, NodeIdentity
from node_agent.identity.relocation import Elsewhere, confirm_move, stay
from node_agent.identity.sole_use import sole_use
from node_agent.runtimes.adoption import held_elsewhere
from node_agent.runtimes.assembly import instances_directory
from node_agent.runtimes.process import Process, boot_id, start_ticks
from node_agent.settings import StateDirectory
from wire.atomic_file import write_atomically


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A pid counts only together with its boot and start time."""

    pid: int
    start_ticks: int
    boot_id: str
    ports: dict[str, int] = field(default_factory=dict)
    lock: str = ""
    """Device and inode of the directory's lock: a copied record names an agent that is not this directory's."""

    @property
    def alive(self) -> bool:
        return self.boot_id == boot_id() and start_ticks(self.pid) == self.start_ticks


def own_record() -> RunRecord:
    return RunRecord(os.getpid(), start_ticks(os.getpid()) or 0, boot_id())


def recorded(state: StateDirectory) -> RunRecord | None:
    """The agent that the directory names, when it lives and somebody holds the directory's lock."""
    try:
        record = RunRecord(**json.loads(state.run_record.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    named = record.alive and record.lock in ("", _lock_mark(state))
    return record if named and _is_locked(state) else None


def _is_locked(state: StateDirectory) -> bool:
    """Ask only beside the record of a living process: asking takes the lock for a moment."""
    try:
        with state.lock.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _lock_mark(state: StateDirectory) -> str:
    try:
        seen = state.lock.stat()
    except OSError:
        return "none"
    return f"{seen.st_dev}:{seen.st_ino}"


@contextmanager
def sole_agent(state: StateDirectory) -> Iterator[RunRecord]:
    """Hold the lock, the identity and the run record; AlreadyRunning when another agent does.

    DirectoryCopied when the identity belongs to another directory.
    """
    files = IdentityFiles(state.path)
    with locked(state), sole_use(files):
        if files.joined:
            stay(files, _engines_elsewhere(state))
        record = replace(own_record(), lock=_lock_mark(state))
        write_atomically(state.run_record, json.dumps(asdict(record)).encode() + b"\n")
        try:
            yield record
        finally:
            state.run_record.unlink(missing_ok=True)


def settled_here(state: StateDirectory) -> NodeIdentity:
    """The identity belongs to this directory from now on. NotJoined, AlreadyRunning, DirectoryCopied."""
    files = IdentityFiles(state.path)
    with locked(state), sole_use(files):
        return confirm_move(files, _engines_elsewhere(state))


def _engines_elsewhere(state: StateDirectory) -> Elsewhere:
    return partial(held_elsewhere, instances_directory(state.path))


@contextmanager
def locked(state: StateDirectory) -> Iterator[None]:
    """Nobody else manages this state directory meanwhile."""
    with state.lock.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _already_running(state) from None
        yield


def _already_running(state: StateDirectory) -> AlreadyRunning:
    other = recorded(state)
    who = f"a node agent runs already with pid {other.pid}" if other else "another process holds its lock"
    return AlreadyRunning(
        f"{state.path} is in use: {who}.",
        "Stop it with `arw-node-agent stop`, or give this one another --state-dir.",
        pid=str(other.pid) if other else "",
    )


async def end(record: RunRecord, grace: timedelta) -> bool:
    """SIGTERM, then SIGKILL after `grace`. False when it was gone already."""
    process = Process.hold(record.pid, record.start_ticks)
    if process is None:
        return False
    try:
        process.send(signal.SIGTERM)
        if not await process.wait(grace):
            process.send(signal.SIGKILL)
            await process.wait(grace)
    finally:
        process.release()
    return True
