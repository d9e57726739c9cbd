"""Start this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arwctl.command import Call, alone, command
from arwctl.local.machine import Newcomer
from arwctl.local.up import up

app = alone("Start the control plane and the node agent of this machine; only what is missing.")

Port = Annotated[int | None, typer.Option(min=1, max=65535, show_default=False)]


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
    node_runtimes: Annotated[
        int | None,
        typer.Option(min=0, show_default=False, help="How many runtimes a node is given; 0: as many as usual."),
    ] = None,
) -> None:
    """Start the control plane and the node agent of this machine; only what is missing.

    Without --detach it stays, prints events, and Ctrl-C stops everything.

    Examples:
    arwctl up --detach
    arwctl up --detach --engine /usr/local/bin/llama-server
    arwctl up --detach --host 0.0.0.0
    arwctl up --detach --node-runtimes 50
    """
    options = {
        "host": host or None,
        "grpc-port": grpc_port,
        "enrollment-port": enrollment_port,
        "relay-port": relay_port,
        "http-port": http_port,
        "node-runtimes": node_runtimes,
    }
    await up(call, {name: value for name, value in options.items() if value is not None}, Newcomer(node, tuple(engine)))
    if not detach:
        from arwctl.local.foreground import stay  # noqa: PLC0415 - it reads events, which the start need not wait for

        await stay(call)
