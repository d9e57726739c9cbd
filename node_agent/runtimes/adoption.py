"""What an earlier agent left in an instance directory: taken over, or known to be dead; never doubled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from node_agent.runtimes.directory import InstanceDirectory, homes
from node_agent.runtimes.ending import clear, end_shim, exit_note, stop
from node_agent.runtimes.launcher import Running, hold_engine
from node_agent.runtimes.process import Process, boot_id
from node_agent.runtimes.records import ExitNote, RunRecord
from node_agent.runtimes.sandbox.cgroup import sweep
from node_agent.runtimes.tree import Tree, holds_lock


@dataclass(frozen=True, slots=True)
class Adoption:
    running: Running | None = None
    note: ExitNote | None = None
    """How the last launch ended, when its shim wrote it down."""
    never_ran: bool = False
    """The agent that wanted the last launch died before there was an engine."""
    rebooted: bool = False
    """The machine was started since: nothing in the directory runs, whatever pids it names."""


async def adopt(home: InstanceDirectory, unkillable: Callable[[], None]) -> Adoption:
    """Look at its last launch once. ForeignFileError when it is not ours alone: nothing in it is believed then.

    Call back again and again while what an ended engine left survives SIGKILL.
    """
    home.check()
    berth, incarnation = home.current(), home.state().incarnation
    run = berth.run()
    if run is not None and run.boot_id != boot_id():
        return Adoption(note=exit_note(berth, run.incarnation), rebooted=True)
    if run is None or run.incarnation != incarnation:
        await clear(berth, None, unkillable)
        sweep(berth.cgroup_leaf(incarnation))
        return Adoption(never_ran=True)
    running = _held(berth, run)
    return Adoption(running) if running else await _dead(berth, run, unkillable)


async def vacate(
    berth: InstanceDirectory, grace: timedelta, unkillable: Callable[[], None], running: Running | None = None
) -> int | None:
    """End what was launched in the berth that is not the last launch's, and forget it. The pid of the engine that ran.

    It was to take the other's place, or had to give way to it: in either case an agent died over it, or gave it up.
    """
    if not berth.path.is_dir():
        return None
    berth.check()
    launch, run = berth.launch(), berth.run()
    if running is None and run is not None and run.boot_id == boot_id():
        running = _held(berth, run)
    pid = running.engine.pid if running is not None else None
    if running is not None:
        await stop(berth, running, grace, unkillable)
    elif launch is not None:
        await clear(berth, None, unkillable)
        sweep(berth.cgroup_leaf(launch.incarnation))
    berth.vacate()
    return pid


def _held(home: InstanceDirectory, run: RunRecord) -> Running | None:
    engine = hold_engine(run)
    if engine is None:
        return None
    if not _is_ours(home, run):
        engine.release()
        return None
    return Running(run, engine, _shim(home, run))


def held_elsewhere(instances: Path) -> list[int]:
    """Engines that records here name and that live, though not under this directory's locks: it is a copy of theirs."""
    berths = [berth for home in homes(instances) for berth in home.berths()]
    return [pid for berth in berths if (pid := _held_elsewhere(berth))]


def rename_to(node: str, instances: Path) -> None:
    """What an earlier identity left is this node's now: it says so when it reports them, whatever becomes of them."""
    for home in homes(instances):
        home.save(replace(home.state(), name=f"nodes/{node}/instances/{home.path.name}"))


def _held_elsewhere(home: InstanceDirectory) -> int | None:
    run = home.run()
    engine = hold_engine(run) if run is not None and run.boot_id == boot_id() else None
    if run is None or engine is None:
        return None
    engine.release()
    return None if _is_ours(home, run) else engine.pid


def _is_ours(home: InstanceDirectory, run: RunRecord) -> bool:
    """A run.json may be forged: the process must have inherited the lock, or sit in the launch's own cgroup."""
    return holds_lock(run.engine_pid, home.lock) or run.engine_pid in Tree(home, run).members()


def _shim(home: InstanceDirectory, run: RunRecord) -> Process | None:
    shim = Process.hold(run.shim_pid, run.shim_start_ticks)
    if shim is not None and not holds_lock(run.shim_pid, home.lock):
        shim.release()
        return None
    return shim


async def _dead(home: InstanceDirectory, run: RunRecord, unkillable: Callable[[], None]) -> Adoption:
    """The shim may be about to write its last record."""
    shim = _shim(home, run)
    if shim is not None:
        await end_shim(shim)
        shim.release()
    await clear(home, None, unkillable)
    return Adoption(note=exit_note(home, run.incarnation))
