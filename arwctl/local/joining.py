"""This machine's node agent, beside a control plane that serves."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from arw_client import ArwError, Client, TimedOutError, display_id
from arw_client import messages as m
from arwctl.local.machine import Machine, Starting, invitation
from arwctl.local.process import Running, tail
from arwctl.screen import Screen

ONLINE_S = 30.0
ASK_S = 0.03
TOKEN_LIFE = timedelta(minutes=5)


async def agent(screen: Screen, machine: Machine, client: Client, newcomer: Starting | None) -> Running:
    """Serving; a newcomer joins first. ArwError when it ends instead."""
    found = machine.agent.running
    if found:
        screen.note(f"node agent: runs already (pid {found.pid})")
        return found
    if newcomer:
        token = await client.nodes.create_join_token(m.CreateJoinTokenRequest(ttl=TOKEN_LIFE))
        newcomer.process.tell(invitation(token.enrollment_address, token.secret_text))
        found = await newcomer.serving()
        screen.note("node agent: joined")
    else:
        found = await machine.agent.start(machine.state_dir)
    screen.note(f"node agent: started (pid {found.pid})")
    return found


async def online(machine: Machine, client: Client, agent: Running) -> str:
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
