"""The command that changes how many replicas a runtime has; `arwctl.groups.runtime` names it."""

from __future__ import annotations

from typing import Annotated

import typer

from arw_client import messages as m
from arwctl import runtime_set
from arwctl.command import Call, Output
from arwctl.format import Format
from arwctl.output import show
from arwctl.readiness import Waiting
from arwctl.targets import one_of, seconds

Id = Annotated[str, typer.Argument(metavar="ID", help="Runtime id.", show_default=False)]
Number = Annotated[int, typer.Argument(metavar="N", help="With the runtime itself.", show_default=False)]
Wait = Annotated[bool, typer.Option("--wait", help="Until all of them serve.")]
Timeout = Annotated[str, typer.Option("--timeout", help="For --wait, such as 90s or 5m.")]


async def scale(
    call: Call,
    runtime: Id,
    number: Number,
    *,
    wait: Wait = False,
    patience: Timeout = "5m",
    output: Output = Format.TABLE,
) -> None:
    """Change how many replicas of a runtime there are, each on a node of its own. Those that stay are left alone.

    Of fewer, the highest numbers are stopped and forgotten. Applying its manifest again counts more than this.

    Examples:
    arwctl runtime scale tiny-chat 3 --wait
    arwctl runtime scale tiny-chat 1 -o json
    """
    patience_s = seconds(patience)
    request = m.ScaleRuntimeRequest(name=one_of("runtimes", runtime), replicas=max(0, number))
    async with call.client() as client:
        scaled = (await client.runtimes.scale_runtime(request)).runtime or m.Runtime()
        rows = await runtime_set.members(client, scaled)
        show(call.screen, scaled, output, lambda: _tell(call, scaled, rows))
        if wait:
            await Waiting(client, call.screen, _running(rows)).until_ready(patience_s)
            call.screen.note(f"{scaled.id}: {len(_running(rows))} ready")


def _tell(call: Call, scaled: m.Runtime, rows: list[m.Runtime]) -> None:
    call.screen.line(f"{scaled.id}: {', '.join(row.id for row in rows)}; {runtime_set.ready(rows)}/{len(rows)} ready")


def _running(rows: list[m.Runtime]) -> list[m.Runtime]:
    return [row for row in rows if row.desired_state == m.DesiredState.RUNNING]
