"""The commands that take a runtime out of memory and back; `arwctl.groups.runtime` names them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from arw_client import display_id
from arw_client import messages as m
from arwctl import runtime_set
from arwctl.command import Call
from arwctl.plain import plain
from arwctl.readiness import Waiting, standing
from arwctl.targets import RuntimeArgument, RuntimeOption, one_of, seconds

Wait = Annotated[bool, typer.Option("--wait", help="Until it serves.")]
Timeout = Annotated[str, typer.Option("--timeout", help="For --wait, such as 90s or 5m.")]


_CAUSES = {
    "declared": "nobody asked for it yet",
    "operator": "by an operator",
    "idle": "nobody asked for it",
    "room": "another one needed its memory",
}


def facts(runtime: m.Runtime) -> Iterator[tuple[str, str]]:
    """When it is in memory, of one that need not always be."""
    said, sleep = runtime.spec.residence if runtime.spec else None, runtime.sleep
    if said is not None and said.on_demand:
        after = f", out after {said.idle_unload.total_seconds():g} s without one" if said.idle_unload else ""
        yield "Loaded", f"when a request names it{after}{', kept' if said.keep_loaded else ''}"
    if sleep is not None and sleep.since is not None:
        cause = _CAUSES.get(sleep.cause, plain(sleep.cause))
        yield "Hibernated", f"since {sleep.since:%Y-%m-%dT%H:%M:%SZ}: {cause}"


async def hibernate(call: Call, *, runtime: RuntimeArgument = None, id_: RuntimeOption = None) -> None:
    """Take a runtime out of memory until it is woken: by a request where its manifest says on_demand, else by you.

    Requests that it has in hand are answered first.

    Examples:
    arwctl runtime hibernate tiny-chat
    """
    name = one_of("runtimes", runtime, id_)
    async with call.client() as client:
        answer = await client.runtimes.hibernate_runtime(m.HibernateRuntimeRequest(name=name))
    call.screen.line(f"{display_id(name)}: hibernation accepted, {standing(answer.runtime or m.Runtime())}")


async def wake(
    call: Call,
    *,
    runtime: RuntimeArgument = None,
    id_: RuntimeOption = None,
    wait: Wait = False,
    patience: Timeout = "5m",
) -> None:
    """Ask for a hibernated runtime, as a request does: what is idle makes room for it where that is needed.

    Examples:
    arwctl runtime wake tiny-chat --wait
    """
    name, patience_s = one_of("runtimes", runtime, id_), seconds(patience)
    async with call.client() as client:
        asked = (await client.runtimes.wake_runtime(m.WakeRuntimeRequest(name=name))).runtime or m.Runtime()
        call.screen.line(f"{asked.id}: wake accepted, {standing(asked)}")
        if wait:
            rows = await runtime_set.members(client, asked)
            await Waiting(client, call.screen, rows).until_ready(patience_s)
            call.screen.line(f"{asked.id}: ready")
