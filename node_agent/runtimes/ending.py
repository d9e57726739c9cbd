"""The end of a launch: by itself or on our order, nothing of its tree stays, and its exit record is read."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import timedelta

from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.launcher import Running
from node_agent.runtimes.process import Process
from node_agent.runtimes.records import ExitNote
from node_agent.runtimes.tree import Tree

SHIM_PATIENCE = timedelta(seconds=6)
KILL_PATIENCE = timedelta(seconds=5)


async def stop(
    home: InstanceDirectory, running: Running, grace: timedelta, unkillable: Callable[[], None]
) -> ExitNote | None:
    """SIGTERM, the grace, SIGKILL to the whole tree. Returns only when nothing is left, however long that takes."""
    running.engine.send(signal.SIGTERM)
    if not await running.engine.wait(grace):
        await _kill(home, running, unkillable)
    return await settle(home, running, unkillable)


async def _kill(home: InstanceDirectory, running: Running, unkillable: Callable[[], None]) -> None:
    tree = Tree(home, running.record)
    while True:
        tree.kill()
        running.engine.send(signal.SIGKILL)
        if await running.engine.wait(KILL_PATIENCE):
            return
        unkillable()


async def settle(home: InstanceDirectory, running: Running, unkillable: Callable[[], None]) -> ExitNote | None:
    """Call it once the engine ended: waits for the shim's record and clears up. None: nobody knows how it ended."""
    if running.shim is not None:
        await end_shim(running.shim)
    await clear(home, running, unkillable)
    running.release()
    return exit_note(home, running.record.incarnation)


async def end_shim(shim: Process) -> None:
    """It ends by itself once it wrote its record; one that hangs must not keep the lock."""
    if not await shim.wait(SHIM_PATIENCE):
        shim.send(signal.SIGKILL)
        await shim.wait(KILL_PATIENCE)
    shim.reap()


async def clear(home: InstanceDirectory, running: Running | None, unkillable: Callable[[], None]) -> None:
    """Kill whatever still holds the instance's lock or sits in its cgroup."""
    tree = Tree(home, running.record if running else home.run())
    while not await tree.kill_all(KILL_PATIENCE):
        unkillable()


def exit_note(home: InstanceDirectory, incarnation: int) -> ExitNote | None:
    note = home.exit()
    return note if note is not None and note.incarnation == incarnation else None
