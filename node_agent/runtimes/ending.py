"""The end of a launch: by itself or on our order, nothing of its tree stays, and its exit record is read."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from datetime import timedelta

from node_agent.runtimes.containers.exit_codes import translated
from node_agent.runtimes.containers.removal import removed
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.launcher import Running
from node_agent.runtimes.process import Process
from node_agent.runtimes.records import ExitNote
from node_agent.runtimes.tree import Tree, scanned

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
        await scanned(tree.kill)
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
    """Kill whatever still holds the instance's lock, sits in its cgroup or runs in its container."""
    tree = Tree(home, running.record if running else home.run())
    while not await tree.kill_all(KILL_PATIENCE):
        unkillable()
    while not await removed(home.launch()):
        unkillable()
        await asyncio.sleep(KILL_PATIENCE.total_seconds())


async def make_way(home: InstanceDirectory, unkillable: Callable[[], None]) -> None:
    """Before a launch: nothing of an earlier one is left."""
    earlier = home.launch()
    if not home.lock_is_free() or (earlier is not None and earlier.container is not None):
        await clear(home, None, unkillable)


def exit_note(home: InstanceDirectory, incarnation: int) -> ExitNote | None:
    """Of a container's client, in terms of the engine."""
    note, launch = home.exit(), home.launch()
    if note is None or note.incarnation != incarnation:
        return None
    return note if launch is None or launch.container is None else translated(note)
