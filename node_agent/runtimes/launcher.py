"""Starts a shim and waits until it says which process the engine is."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from node_agent.domain.errors import SpawnFailed
from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.directory import ForeignFileError, InstanceDirectory
from node_agent.runtimes.process import Process
from node_agent.runtimes.records import LaunchRecord, RunRecord
from node_agent.runtimes.sandbox.cgroup import sweep

SHIM = Path(__file__).with_name("shim.py")
POLL = timedelta(milliseconds=10)
EXIT_LOCK_HELD = 75


@dataclass(slots=True)
class Running:
    """The processes of a launch, held for as long as somebody looks after them."""

    record: RunRecord
    engine: Process
    shim: Process | None
    """None: it is gone, and no exit record will come."""

    def release(self) -> None:
        self.engine.release()
        if self.shim is not None:
            self.shim.release()


async def launch(
    home: InstanceDirectory, record: LaunchRecord, patience: timedelta, spec: InstanceSpec | None = None
) -> Running:
    """Start the engine of `record`, with a key of its own. SpawnFailed says why there is none.

    `spec`: what it was made from, for an agent that is told something else meanwhile.
    """
    try:
        home.prepare()
        home.clear_launch()
        home.new_key()
        home.lend(record.sandbox.wanted.uid, record.sandbox.wanted.groups)
        if record.container is not None and record.container.uid:
            home.give(record.container.uid, record.container.uid)
        home.save(record)
        if spec is not None:
            home.save(spec)
        shim = _spawn_shim(home)
    except (OSError, ForeignFileError) as error:
        raise SpawnFailed(f"The engine could not be started: {error}.", _remedy(error)) from error
    try:
        return await _first_words(home, record.incarnation, shim, patience)
    except BaseException:
        await _abandon(home, record.incarnation, shim)
        raise


def _spawn_shim(home: InstanceDirectory) -> Process:
    """No fork of this process: posix_spawn is safe whatever threads and locks gRPC has."""
    quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1)]
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    errors = (os.POSIX_SPAWN_OPEN, 2, str(home.path / "shim.err"), flags, 0o600)
    command = [sys.executable, "-I", "-S", str(SHIM), str(home.path)]
    pid = os.posix_spawn(sys.executable, command, {"PATH": os.defpath}, file_actions=[*quiet, errors], setsid=True)
    return Process.child(pid)


async def _first_words(home: InstanceDirectory, incarnation: int, shim: Process, patience: timedelta) -> Running:
    deadline = asyncio.get_running_loop().time() + patience.total_seconds()
    while asyncio.get_running_loop().time() < deadline:
        run = home.run()
        if run is not None and run.incarnation == incarnation:
            return Running(run, hold_engine(run) or Process.gone(run.engine_pid), shim)
        if shim.ended:
            raise _refusal(home, shim.reap())
        await asyncio.sleep(POLL.total_seconds())
    raise SpawnFailed(
        f"The shim of this instance wrote no run record within {patience.total_seconds():g} s.",
        "Look at the load of this node and at the disk that holds its state directory.",
    )


async def _abandon(home: InstanceDirectory, incarnation: int, shim: Process) -> None:
    """Without it there will be no engine, unless there is one: that is whoever's who finds its run record."""
    run = home.run()
    if (run is None or run.incarnation != incarnation) and not shim.ended:
        shim.send(signal.SIGKILL)
        await shim.wait()
        shim.reap()
        sweep(home.cgroup_leaf(incarnation))
    shim.release()


def hold_engine(run: RunRecord) -> Process | None:
    return Process.hold(run.engine_pid, run.engine_start_ticks)


def _refusal(home: InstanceDirectory, code: int | None) -> SpawnFailed:
    if code == EXIT_LOCK_HELD:
        return SpawnFailed(
            "An earlier engine of this instance still runs, so a second one was not started.",
            "Wait a moment, or stop the node with `arw-node-agent stop` and start it again.",
        )
    words = (home.path / "shim.err").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return SpawnFailed(
        f"The shim of this instance ended with status {code}: {words[-1] if words else 'it said nothing'}.",
        "Look at the free memory, process limits and disk of this node.",
    )


def _remedy(error: OSError | ForeignFileError) -> str:
    if isinstance(error, ForeignFileError):
        return "Remove it, or give it back to the user that runs the agent with mode 0700."
    return "Look at the free disk space, memory and process limits of this node."
