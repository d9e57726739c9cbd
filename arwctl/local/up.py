"""Starting what is missing on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from arw_client import ArwError, Client, TimedOutError, display_id
from arw_client import messages as m
from arwctl.command import Call
from arwctl.local.machine import Machine, Newcomer
from arwctl.local.process import Running, tail
from arwctl.screen import Screen

ONLINE_S = 30.0
ASK_S = 0.1
TOKEN_LIFE = timedelta(minutes=5)


async def up(call: Call, ports: Mapping[str, int | str], node: Newcomer) -> None:
    """Idempotent. Each step says whether it was needed."""
    machine = Machine(call.state_dir, call.context_file)
    await _control_plane(call, machine, ports)
    async with call.client() as client:
        await client.state.supervisor()
        agent = await _agent(call.screen, machine, client, node)
        name = await _online(machine, client, agent)
    call.screen.note(f"node: {name} is online")


async def _control_plane(call: Call, machine: Machine, ports: Mapping[str, int | str]) -> None:
    found = machine.control_plane.running
    if found and call.context_file.exists():
        call.screen.note(f"control plane: runs already (pid {found.pid})")
        return
    if found:
        await machine.renew_context(ports)
    else:
        found = await machine.start_control_plane(ports)
    call.screen.note(f"control plane: started (pid {found.pid})")


async def _agent(screen: Screen, machine: Machine, client: Client, node: Newcomer) -> Running:
    found = machine.agent.running
    if found:
        screen.note(f"node agent: runs already (pid {found.pid})")
        return found
    if machine.joined:
        found = await machine.agent.start(machine.state_dir)
    else:
        token = await client.nodes.create_join_token(m.CreateJoinTokenRequest(ttl=TOKEN_LIFE))
        found = await machine.join(token.enrollment_address, token.secret_text, node)
        screen.note("node agent: joined")
    screen.note(f"node agent: started (pid {found.pid})")
    return found


async def _online(machine: Machine, client: Client, agent: Running) -> str:
    """The id of the agent's node, once it is online."""
    try:
        async with asyncio.timeout(ONLINE_S):
            while agent.alive:
                async for node in client.nodes.each():
                    if node.agent_pid == agent.pid and node.state == m.NodeState.ONLINE:
                        return display_id(node.name)
                await asyncio.sleep(ASK_S)
    except TimeoutError:
        error: ArwError = TimedOutError(
            f"The node did not come online within {ONLINE_S:g} s.", f"See `arwctl nodes list` and {machine.agent.log}."
        )
    else:
        error = ArwError("AGENT_ENDED", "The node agent ended.", f"Read {machine.agent.log}.")
    for line in tail(machine.agent.log):
        error.add_note(line)
    raise error
