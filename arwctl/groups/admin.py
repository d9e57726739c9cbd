"""The control plane as a whole: back it up, put it back, look whether all is well."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from arw_client import ArwError, Context
from arwctl import checkup
from arwctl.checkup import Finding, Grade
from arwctl.command import Call, Output, command, group
from arwctl.exit_codes import ExitCode
from arwctl.format import Format
from arwctl.groups import authorities
from arwctl.local import keeping
from arwctl.output import emit
from arwctl.screen import GREEN, RED, YELLOW

app = group("Back up and restore the control plane of this machine; see whether all is well; rotate its authority.")
app.add_typer(authorities.app, name="ca")

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.", show_default=False)]
COLOURS = {Grade.OK: GREEN, Grade.WARN: YELLOW, Grade.ERROR: RED}
ANSWER_WITHIN_S = 2.0


@command(app, "backup")
async def backup(
    call: Call,
    file: File,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE when it is there.")] = False,
) -> int:
    """Write one file with all that a restore needs: database, CA and settings. Whether or not it runs.

    Examples:
    arwctl admin backup arw-backup.tar
    """
    return await keeping.kept(call.state_dir, "backup", file, *(["--force"] if force else []))


@command(app, "restore")
async def restore(call: Call, file: File) -> int:
    """Put a backup back while the control plane is stopped; what was there is put aside.

    Examples:
    arwctl admin restore arw-backup.tar
    """
    return await keeping.kept(call.state_dir, "restore", file)


@command(app, "doctor")
async def doctor(call: Call, output: Output = Format.TABLE) -> int:
    """Check everything, and say what to do. Exit code 0: all well; 1: there is something to do.

    Examples:
    arwctl admin doctor
    arwctl admin doctor -o json
    """
    found = [*await _remote(call), *await _local(call)]
    if output is Format.TABLE:
        _print(call, found)
    else:
        emit(call.screen, [asdict(one) for one in found], output)
    return ExitCode.OK if all(one.grade is Grade.OK for one in found) else ExitCode.FAILED


def _print(call: Call, found: list[Finding]) -> None:
    for one in found:
        call.screen.write(call.screen.coloured(f"{one.grade:5}", COLOURS[one.grade]))
        call.screen.line(f"  {one.check}: {one.text}")
        if one.remedy:
            call.screen.line(f"       next: {one.remedy}")


async def _remote(call: Call) -> list[Finding]:
    try:
        context = Context.load(call.context_file)
        operator = checkup.of_operator(context, datetime.now(UTC))
    except (ArwError, ValueError) as error:
        return [_unreadable(error)]
    return [operator, *await _answers(call), *await _ports(call, context)]


def _unreadable(error: ArwError | ValueError) -> Finding:
    if isinstance(error, ArwError):
        return checkup.refused("context", error)
    text = f"The certificate in the context file cannot be understood: {error}."
    return Finding("context", Grade.ERROR, text, "Remove the file, then run `arwctl up`.")


async def _answers(call: Call) -> list[Finding]:
    try:
        async with call.client() as client:
            return await checkup.of_control_plane(client, version("arw"))
    except ArwError as error:
        return [checkup.refused("control plane", error)]


async def _ports(call: Call, context: Context) -> list[Finding]:
    """Of those that are known here: a control plane of this machine has told all of its own."""
    http = urlsplit(context.http_url)
    known = {"http": (http.hostname or "", http.port or 0)}
    host = context.grpc_endpoint[0]
    for name, port in _announced(call.state_dir).items():
        known.setdefault(name, (host, port))
    return [await _port(name, *where) for name, where in known.items()]


def _announced(state_dir: Path) -> dict[str, int]:
    try:
        ports = json.loads((state_dir / "control_plane" / "run.json").read_bytes())["ports"]
        return {str(name): int(port) for name, port in ports.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


async def _port(name: str, host: str, port: int) -> Finding:
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        remedy = "Start it with `arwctl up`; if it runs, see its log and the firewall between."
        return Finding("port", Grade.ERROR, f"{name}: nothing answers at {host}:{port}", remedy)
    writer.close()
    return Finding("port", Grade.OK, f"{name}: {host}:{port}")


async def _local(call: Call) -> list[Finding]:
    """What the files of a control plane say, when it is of this machine."""
    if not (call.state_dir / "control_plane").is_dir():
        return []
    try:
        found = await keeping.findings(call.state_dir)
    except ArwError as error:
        return [checkup.refused("files", error)]
    return [Finding(one["check"], Grade(one["grade"]), one["text"], one["remedy"]) for one in found]
