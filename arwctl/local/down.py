"""Stopping everything of a state directory."""

from __future__ import annotations

from arw_client import ArwError
from arwctl.command import Call
from arwctl.local.leftovers import left
from arwctl.local.machine import STOP_S, Machine
from arwctl.local.process import until


async def down(call: Call) -> None:
    """The agent with its runtimes first, so that nothing is started again; ArwError names whatever is left."""
    machine = Machine(call.state_dir, call.context_file)
    agent = machine.agent.running
    await machine.stop_agent()
    if agent:
        call.screen.note(f"node agent: stopped (pid {agent.pid})")
    ended = await machine.control_plane.stop()
    if ended:
        call.screen.note(f"control plane: stopped (pid {ended})")
    await until(lambda: not left(call.state_dir), STOP_S / 4)
    still = left(call.state_dir)
    if still:
        raise _left_error(still)


def _left_error(still: dict[int, str]) -> ArwError:
    pids = " ".join(str(pid) for pid in sorted(still))
    error = ArwError("STILL_RUNNING", f"Still running: {pids}.", f"End them with `kill {pids}`, then run this again.")
    for pid, command in still.items():
        error.add_note(f"{pid}: {command}")
    return error
