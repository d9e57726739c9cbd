"""The whole loop, shown."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from arwctl.command import Call, alone, command
from arwctl.local.demo import Demo
from arwctl.local.demo_kinds import SUBJECTS, DemoKind, Subject
from arwctl.local.down import down

app = alone("Show the whole loop in a temporary state directory, then clean up.")


@command(app, "demo")
async def demo(
    call: Call,
    *,
    kind: Annotated[DemoKind, typer.Argument(metavar="[chat|audio|vision]", help="With llama.cpp, or whisper.cpp.")] = (
        DemoKind.CHAT
    ),
    keep: Annotated[bool, typer.Option("--keep", help="Keep the state directory and its logs.")] = False,
) -> None:
    """Show the whole loop with a real engine in a temporary state directory, then clean up.

    Examples:
    arwctl demo
    arwctl demo audio
    arwctl demo --keep
    """
    folder = Path(tempfile.mkdtemp(prefix="arw-demo-"))
    inner = Call(folder / "state", folder / "state" / "context.json", call.screen)
    try:
        await _run(inner, folder, SUBJECTS[kind])
    except BaseException:
        call.screen.note(f"logs: {folder}/state/*/*.log")
        raise
    if keep:
        call.screen.note(f"kept: {folder}")
    else:
        await asyncio.to_thread(shutil.rmtree, folder)
    call.screen.line("demo: ok")


async def _run(inner: Call, folder: Path, subject: Subject) -> None:
    """Whatever happens, nothing is left running."""
    try:
        await Demo(inner, folder, subject).run()
    finally:
        inner.screen.line("\n6. Stop everything")
        await down(inner)
