"""The command that shows nodes, or models on nodes; `arwctl.groups.runtime` names it."""

from __future__ import annotations

from typing import Annotated

import typer

from arwctl import grid_view
from arwctl.command import Call, Output
from arwctl.format import Format
from arwctl.output import emit, listing

Grid = Annotated[
    bool, typer.Option("--grid", help="Models x hardware x sandboxes: health, load and speed of each in use.")
]


async def matrix(call: Call, *, grid: Grid = False, output: Output = Format.TABLE) -> None:
    """Show the health of every node; with --grid, of every model on every accelerator in every kind of sandbox.

    Examples:
    arwctl runtime matrix
    arwctl runtime matrix --grid
    arwctl runtime matrix --grid -o json
    """
    await (_grid if grid else _nodes)(call, output)


async def _nodes(call: Call, output: Format) -> None:
    async with call.client() as client:
        found = await client.state.matrix()
    if output is not Format.TABLE:
        emit(call.screen, grid_view.matrix_document(found), output)
        return
    listing(call.screen, [entry for _, entry in sorted(found.items.items())], output, grid_view.NODES)
    call.screen.line(f"ttl {found.ttl_seconds}s")


async def _grid(call: Call, output: Format) -> None:
    async with call.client() as client:
        found = await client.state.grid()
    if output is not Format.TABLE:
        emit(call.screen, grid_view.grid_document(found), output)
        return
    listing(call.screen, found.cells, output, grid_view.CELLS)
    grid_view.print_roll_ups(call.screen, found)
