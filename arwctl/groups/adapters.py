"""Adapters: which there are, and manifests of those that packages bring."""

from __future__ import annotations

import asyncio
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from arw_client import ArwError
from arwctl.command import Call, Output, command, group
from arwctl.format import Format
from arwctl.local.process import program
from arwctl.output import emit
from arwctl.plain import plain

app = group("List the adapters of this machine's agent, and write manifests for others.")

AGENT = "arw-node-agent"
PATIENCE_S = 30.0
OutFile = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Instead of the screen.")]


@command(app, "list")
async def list_adapters(call: Call, *, output: Output = Format.TABLE) -> None:
    """List the adapters of the agent on this machine, its own and those that packages bring.

    Examples:
    arwctl runtime adapters list
    """
    found = json.loads(await _said(program(AGENT), "adapters", "--state-dir", str(call.state_dir)))
    if output is not Format.TABLE:
        emit(call.screen, found, output)
        return
    rows = [_row(one) for one in found]
    call.screen.table(("adapter", "from", "can", "engine", "trusted here"), rows)


async def _said(*words: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            said, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        text = f"`{AGENT} adapters` failed: {complaint.decode(errors='replace').strip()}"
        raise ArwError("LOCAL_STEP_FAILED", text, "Mend what it names, or install the agent again.")
    return said


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    kind = "started here" if one["managed"] else "runs already"
    engines = ", ".join(engine["path"] for engine in one["engines"]) or "-"
    return tuple(plain(cell) for cell in (one["id"], one["source"], ", ".join(one["features"]), kind, engines))


@command(app, "lint")
async def lint(
    call: Call,
    *,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Adapter manifest, TOML or JSON.")],
    as_json: Annotated[bool, typer.Option("--json", help="Findings as JSON.")] = False,
    strict: Annotated[bool, typer.Option("--strict-warnings", help="Warnings fail too.")] = False,
) -> int:
    """Say everything that is wrong with an adapter manifest.

    Examples:
    arwctl runtime adapters lint acme-echo.toml --strict-warnings
    """
    from arwctl.adapter_lint import check, read  # noqa: PLC0415 - the other commands of runtimes must not wait for it

    found = check(read(path))
    if as_json:
        emit(call.screen, found.document(), Format.JSON)
    else:
        for label, some in (("error", found.errors), ("warning", found.warnings)):
            for one in some:
                call.screen.line(f"{label}: {one.field}: {one.message}")
        call.screen.line(f"{path}: {len(found.errors)} errors, {len(found.warnings)} warnings")
    return 1 if found.errors or (strict and found.warnings) else 0


@command(app, "schema")
async def print_schema(call: Call, *, out: OutFile = None) -> None:
    """Print the JSON Schema of adapter manifests.

    Examples:
    arwctl runtime adapters schema --out adapter.schema.json
    """
    from arwctl.adapter_manifest import schema  # noqa: PLC0415 - as above

    _put(call, json.dumps(schema(), indent=2) + "\n", out)


@command(app, "init")
async def init(
    call: Call,
    *,
    id_: Annotated[str, typer.Option("--id", metavar="ID", help="Such as acme.echo.")],
    name: Annotated[str, typer.Option("--name", help="For people.")],
    out: OutFile = None,
) -> None:
    """Write an adapter manifest to begin with.

    Examples:
    arwctl runtime adapters init --id acme.echo --name "Acme Echo" --out acme-echo.toml
    """
    from arwctl.adapter_lint import check  # noqa: PLC0415 - as above
    from arwctl.adapter_manifest import skeleton  # noqa: PLC0415 - as above

    text = skeleton(id_, name)
    for fault in check(tomllib.loads(text)).errors:
        raise ArwError("INVALID_ID", f"{fault.field}: {fault.message}.", "Use letters, digits, '.', '_' and '-'.")
    _put(call, text, out)


def _put(call: Call, text: str, out: Path | None) -> None:
    if out is None:
        call.screen.write(text)
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ArwError("ALREADY_EXISTS", f"{out} is there already.", "Choose another file.") from None
    except OSError as error:
        raise ArwError("NOT_FOUND", f"{out} cannot be written: {error.strerror}.", "Choose another file.") from error
    call.screen.line(f"{out}: written")
