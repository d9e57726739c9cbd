"""Everything that `arw-node-agent check` looks at, in the order in which it is told."""

from __future__ import annotations

import asyncio
from datetime import datetime

from node_agent.check.finding import Finding
from node_agent.check.means import (
    NO_ENGINE,
    of_devices,
    of_engines,
    of_limits,
    of_modes,
    of_ports,
    of_room,
    of_sandbox,
)
from node_agent.check.standing import standing
from node_agent.disk.database import Database
from node_agent.disk.digests import DiskDigests
from node_agent.domain.limits import Limits
from node_agent.hardware.look import Look
from node_agent.hardware.processor.probe import ROOT, memory_bytes
from node_agent.identity.files import IdentityFiles
from node_agent.runtimes import assembly
from node_agent.runtimes.containers.service import Containers
from node_agent.runtimes.modes import offers
from node_agent.runtimes.sandbox.offered import layers_here
from node_agent.settings import StateDirectory


async def check_report(state: StateDirectory, limits: Limits, now: datetime) -> list[Finding]:
    """Looks, and changes nothing."""
    found = [finding async for finding in standing(state, now)]
    looked = await Look()()
    found += of_devices(looked.accelerators, looked.problems, limits)
    found += await asyncio.to_thread(_engines, state, limits)
    found += of_limits(limits, f"nodes/{_node(state)}", now)
    found += of_modes(offers(limits, await Containers(lambda: limits.container_tool).look()))
    found += of_sandbox(layers_here(limits))
    found += of_room(state.path, memory_bytes(ROOT) or 0)
    return [*found, of_ports()]


def _node(state: StateDirectory) -> str:
    files = IdentityFiles(state.path)
    return files.identity().node if files.joined else "this"


def _engines(state: StateDirectory, limits: Limits) -> list[Finding]:
    """Where there is no agent yet, nothing is made: nothing is trusted there either."""
    if not state.database.exists():
        return [NO_ENGINE]
    database = Database(state.database)
    try:
        trusted = assembly.trust_list(state.path, DiskDigests(database))
        return list(of_engines(trusted.engines(), trusted.verify, limits))
    finally:
        database.close()
