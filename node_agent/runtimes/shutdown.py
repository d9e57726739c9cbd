"""Stops every instance of a node without its agent, by the same rules."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from node_agent.domain.errors import StorageUnavailable
from node_agent.domain.spec import InstanceName
from node_agent.runtimes.adoption import adopt, vacate
from node_agent.runtimes.directory import ForeignFileError, InstanceDirectory, homes
from node_agent.runtimes.ending import stop


@dataclass(frozen=True, slots=True)
class Stopped:
    name: InstanceName
    engine_pid: int


async def stop_everything(instances: Path, grace: timedelta) -> list[Stopped]:
    """Stop all engines at once; returns those that ran. Call it only while no agent of this node runs."""
    results = await asyncio.gather(*(_stop_one(home, grace) for home in homes(instances)))
    return [result for result in results if result is not None]


async def _stop_one(home: InstanceDirectory, grace: timedelta) -> Stopped | None:
    try:
        found = await adopt(home, lambda: None)
        state = home.state()
        beside = await vacate(home.berth(beside=not state.beside), grace, lambda: None)
        if found.running is None:
            return Stopped(InstanceName(state.name), beside) if beside else None
        pid = found.running.engine.pid
        await stop(home.current(), found.running, grace, lambda: None)
        home.save(replace(state, settled=state.incarnation))
    except (OSError, ForeignFileError) as error:
        raise StorageUnavailable(f"{home.path} cannot be used: {error}.", "Look at its owner and mode.") from error
    return Stopped(InstanceName(state.name), pid)
