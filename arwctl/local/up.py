"""Starting what is missing on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from arwctl.command import Call
from arwctl.local.machine import Machine, Newcomer, Starting
from arwctl.local.process import Running
from arwctl.local.turns import turn


async def up(call: Call, ports: Mapping[str, int | str], node: Newcomer) -> None:
    """Idempotent, also when several are told at once. Each step says whether it was needed."""
    async with turn(call.state_dir, call.screen):
        await _up(call, ports, node)


async def _up(call: Call, ports: Mapping[str, int | str], node: Newcomer) -> None:
    machine = Machine(call.state_dir, call.context_file)
    control_plane = machine.control_plane.running or machine.begin_control_plane(ports)
    async with _newcomer(machine, node) as newcomer:
        # The contract's messages load while what was spawned starts.
        from arwctl.local import joining  # noqa: PLC0415 - see above

        await _control_plane(call, machine, ports, control_plane)
        async with call.client() as client:
            await client.state.supervisor()
            agent = await joining.agent(call.screen, machine, client, newcomer)
            name = await joining.online(machine, client, agent)
    call.screen.note(f"node: {name} is online")


@asynccontextmanager
async def _newcomer(machine: Machine, node: Newcomer) -> AsyncIterator[Starting | None]:
    """An agent that is to join prepares itself while the control plane starts, and ends if that comes to nothing."""
    if machine.agent.running or machine.joined:
        yield None
        return
    newcomer = machine.begin_joining(node)
    try:
        yield newcomer
    except BaseException:
        await newcomer.abandon()
        raise


async def _control_plane(
    call: Call, machine: Machine, ports: Mapping[str, int | str], found: Starting | Running
) -> None:
    if isinstance(found, Starting):
        found = await found.serving()
    elif call.context_file.exists():
        call.screen.note(f"control plane: runs already (pid {found.pid})")
        return
    else:
        await machine.renew_context(ports)
    call.screen.note(f"control plane: started (pid {found.pid})")
