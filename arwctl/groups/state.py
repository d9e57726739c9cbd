"""What the control plane looks at by itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from arw_client import messages as m
from arwctl.command import Call, Output, command, group
from arwctl.format import Format
from arwctl.output import Columns, document, emit, listing, when
from arwctl.screen import BY_SEVERITY
from arwctl.status_view import renamed, span

REPLICAS = Columns[m.ControlPlaneReplica](
    ("GRPC", "HTTP", "ROLE", "STARTED", "VERSION"),
    lambda replica: (
        replica.grpc_address or "starting",
        replica.http_url,
        "leads" if replica.leads else "",
        when(replica.start_time),
        replica.version,
    ),
    "No replica is known yet.",
)
app = group("See what the control plane does by itself.")

# Dashboards read these names over HTTP; scripts find the same ones here.
NAMES = {
    "update_time": "updated_at",
    "last_ok_time": "last_ok_at",
    "last_reason_time": "last_reason_at",
    "last_error_time": "last_error_at",
    "status_time": "status_since",
}


@command(app, "watchers")
async def watchers(call: Call, *, output: Output = Format.TABLE) -> None:
    """Show whether the manifests that are followed by themselves could be loaded.

    Examples:
    arwctl state watchers
    """
    async with call.client() as client:
        found = await client.state.watchers()
    if output is not Format.TABLE:
        emit(call.screen, renamed(document(found), NAMES), output)
    elif not found.watchers:
        call.screen.note("Nothing is watched: no manifest file or folder was given to the control plane.")
    for watcher in found.watchers if output is Format.TABLE else ():
        _print(call, watcher)


@command(app, "replicas")
async def replicas(call: Call, *, output: Output = Format.TABLE) -> None:
    """List the processes of the control plane: one, or several on one database.

    Examples:
    arwctl state replicas
    """
    async with call.client() as client:
        found = await client.state.replicas()
    listing(call.screen, found, output, REPLICAS)


def _print(call: Call, watcher: m.Watcher) -> None:
    label = call.screen.coloured(watcher.status_label, BY_SEVERITY.get(watcher.severity, ""))
    call.screen.write(f"{call.screen.coloured(watcher.label, '1')}  {label}\n")
    for name, value in _facts(watcher):
        call.screen.line(f"    {name + ':':14}{value}")


def _facts(watcher: m.Watcher) -> list[tuple[str, Any]]:
    facts: list[tuple[str, Any]] = [("Now", watcher.summary)]
    if watcher.status_time:
        facts.append(("Since", when(watcher.status_time)))
    facts += [("Looks at", path) for path in watcher.paths]
    facts.append(("Last ok", _ago(watcher.last_ok_time, watcher.last_ok_age_ms)))
    if watcher.last_reason:
        facts.append(("Loaded", f"{when(watcher.last_reason_time)}, {watcher.last_reason.replace('_', ' ')}"))
    if watcher.last_error:
        facts.append(("Last error", f"{when(watcher.last_error_time)}, {watcher.last_error}"))
        facts.append(("Next", watcher.last_error_remedy or "-"))
    return facts


def _ago(moment: datetime | None, age_ms: int | None) -> str:
    return "not known" if moment is None else f"{when(moment)}, {span(age_ms or 0)} ago"
