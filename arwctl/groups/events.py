"""The journal."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from arw_client import messages as m
from arwctl.command import Call, Output, alone, command
from arwctl.following import Following
from arwctl.format import Format
from arwctl.output import document, emit
from arwctl.plain import one_line
from arwctl.screen import BY_SEVERITY, Screen

app = alone("Read the journal of what happened.")


class Journal(StrEnum):
    """Other words for the one journal that there is."""

    JOURNAL = "journal"
    MODULAR = "modular"
    TAIL = "tail"


@command(app, "events")
async def events(
    call: Call,
    *,
    journal: Annotated[  # noqa: ARG001 - all of them mean the same
        Journal | None, typer.Argument(help="Need not be said: there is one journal.", show_default=False)
    ] = None,
    prefix: Annotated[list[str], typer.Option(help="Topics that start so; repeatable.")] = [],  # noqa: B006
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new events.")] = False,
    limit: Annotated[int, typer.Option(help="How many old events.", min=0, max=1000)] = 100,
    after: Annotated[int | None, typer.Option(help="Only events with a higher id.", min=0)] = None,
    output: Output = Format.TABLE,
) -> None:
    """Print the newest events; with --follow, go on with each new one, also after the control plane was away.

    Examples:
    arwctl events --limit 20
    arwctl events --follow --prefix runtime.
    arwctl events --follow --after 1024 -o json
    """
    async with call.client() as client:
        if follow:
            async for event in Following(client, call.screen, prefix).events(after, limit):
                print_event(call.screen, event, output)
        elif limit:
            wanted = m.ListEventsRequest(prefixes=prefix, page_size=limit, after_id=after or 0)
            _print_all(call.screen, (await client.state.list_events(wanted)).events, output)


def _print_all(screen: Screen, found: list[m.Event], output: Format) -> None:
    if output is not Format.TABLE:
        emit(screen, [document(event) for event in found], output)
        return
    for event in found:
        print_event(screen, event, output)


def print_event(screen: Screen, event: m.Event, output: Format = Format.TABLE) -> None:
    """One line of text or of JSON, or a YAML document."""
    found = document(event)
    if output is Format.JSON:
        screen.write(json.dumps(found) + "\n")
    elif output is Format.YAML:
        screen.write("---\n")
        emit(screen, found, output)
    else:
        screen.write(_line(screen, event, found.get("payload") or {}) + "\n")


def _line(screen: Screen, event: m.Event, payload: dict[str, object]) -> str:
    time = f"{event.time.astimezone():%H:%M:%S}" if event.time else "--:--:--"
    kind = screen.coloured(one_line(event.kind), BY_SEVERITY.get(str(payload.get("severity")), ""))
    said = payload.get("summary") or payload.get("reason") or payload.get("state") or ""
    return f"{time}  {event.id:>6}  {kind}  {one_line(event.subject)}  {one_line(said)}".rstrip()
