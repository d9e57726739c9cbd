"""Start this machine."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from arw_client import UnreachableError
from arw_client import messages as m
from arwctl.command import Call, alone, command
from arwctl.groups.events import print_event
from arwctl.local.down import down
from arwctl.local.machine import Machine, Newcomer
from arwctl.local.up import up
from arwctl.plain import one_line

app = alone("Start the control plane and the node agent of this machine; only what is missing.")

Port = Annotated[int | None, typer.Option(min=1, max=65535, show_default=False)]
RETRY_S = 1.0


@command(app, "up")
async def start(
    call: Call,
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once the node is online.")] = False,
    node: Annotated[str, typer.Option(metavar="NAME", help="Id of this node; otherwise the host's name.")] = "",
    engine: Annotated[
        list[Path], typer.Option(metavar="PATH", help="An engine that this node may run; repeatable.")
    ] = [],  # noqa: B006
    host: Annotated[str, typer.Option(help="Address to listen on; otherwise loopback.")] = "",
    grpc_port: Port = None,
    enrollment_port: Port = None,
    relay_port: Port = None,
    http_port: Port = None,
) -> None:
    """Start the control plane and the node agent of this machine; only what is missing.

    Without --detach it stays, prints events, and Ctrl-C stops everything.
    """
    options = {
        "host": host or None,
        "grpc-port": grpc_port,
        "enrollment-port": enrollment_port,
        "relay-port": relay_port,
        "http-port": http_port,
    }
    await up(call, {name: value for name, value in options.items() if value is not None}, Newcomer(node, tuple(engine)))
    if not detach:
        await _foreground(call)


async def _foreground(call: Call) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    call.screen.note("Ctrl-C stops everything.")
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(_follow(call, stop))
        await stop.wait()
        following.cancel()
    await down(call)


async def _follow(call: Call, stop: asyncio.Event) -> None:
    """Print events until the control plane is gone for good."""
    machine, seen = Machine(call.state_dir, call.context_file), 0
    while machine.control_plane.running:
        try:
            async with call.client() as client:
                async for answer in client.state.watch_events(m.WatchEventsRequest(after_id=seen or None)):
                    event = answer.event or m.Event()
                    seen = event.id
                    print_event(call.screen, event)
        except UnreachableError as error:
            call.screen.note(one_line(error.text))
        await asyncio.sleep(RETRY_S)
    call.screen.note("control plane: ended")
    stop.set()
