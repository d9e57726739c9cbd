"""The whole loop, shown."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated

import typer

from arwctl.command import Call, alone, command
from arwctl.local.demo import Demo
from arwctl.local.demo_claims import ClaimsDemo
from arwctl.local.demo_kinds import SUBJECTS, DemoKind
from arwctl.local.down import down

app = alone("Show the whole loop in a temporary state directory, then clean up.")


@command(app, "demo")
async def demo(
    call: Call,
    *,
    kind: Annotated[
        DemoKind,
        typer.Argument(metavar="[chat|audio|vision|claims]", help="What is shown; claims: with a node that dies."),
    ] = DemoKind.CHAT,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the state directory and its logs.")] = False,
) -> None:
    """Show the whole loop with a real engine in a temporary state directory, then clean up.

    Examples:
    arwctl demo
    arwctl demo audio
    arwctl demo claims
    arwctl demo --keep
    """
    folder = Path(tempfile.mkdtemp(prefix="arw-demo-"))
    inner = Call(folder / "state", folder / "state" / "context.json", call.screen)
    try:
        await _run(inner, _shown(inner, folder, kind).run())
    except BaseException:
        call.screen.note(f"logs: {folder}/state/*/*.log")
        raise
    if keep:
        call.screen.note(f"kept: {folder}")
    else:
        await asyncio.to_thread(shutil.rmtree, folder)
    call.screen.line("demo: ok")


def _shown(inner: Call, folder: Path, kind: DemoKind) -> Demo | ClaimsDemo:
    return ClaimsDemo(inner, folder) if kind is DemoKind.CLAIMS else Demo(inner, folder, SUBJECTS[kind])


async def _run(inner: Call, steps: Coroutine[None, None, None]) -> None:
    """Whatever happens, nothing is left running."""
    try:
        await steps
    finally:
        inner.screen.line("\n6. Stop everything")
        await down(inner)
