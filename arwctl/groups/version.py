"""Which versions talk to each other."""

from __future__ import annotations

from importlib.metadata import version

from arw_client import ArwError
from arwctl.command import Call, Output, alone, command
from arwctl.format import Format
from arwctl.output import emit

app = alone("Print the versions of this program and of the control plane.")


@command(app, "version")
async def show_version(call: Call, output: Output = Format.TABLE) -> None:
    """Print the versions of this program and of the control plane.

    Examples:
    arwctl version
    """
    found = {"arwctl": version("arw"), "control_plane": await _remote(call)}
    if output is not Format.TABLE:
        emit(call.screen, found, output)
        return
    for name, value in found.items():
        call.screen.line(f"{name}: {value or 'not reached'}")


async def _remote(call: Call) -> str | None:
    try:
        async with call.client(timeout_s=2.0) as client:
            return (await client.state.supervisor()).version
    except ArwError:
        return None
