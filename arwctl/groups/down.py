"""Stop this machine."""

from __future__ import annotations

from arwctl.command import Call, alone, command
from arwctl.local.down import down

app = alone("Stop both, and every runtime of this machine.")


@command(app, "down")
async def stop(call: Call) -> None:
    """Stop the control plane, the node agent and every runtime of this machine.

    Examples:
    arwctl down
    """
    await down(call)
    call.screen.line("down: nothing is left running")
