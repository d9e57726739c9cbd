"""Running the control plane's own program for what touches its files."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from arw_client import ArwError
from arwctl.exit_codes import ExitCode
from arwctl.local.process import program

CONTROL_PLANE = "arw-control-plane"


async def kept(state_dir: Path, *words: str | Path) -> ExitCode:
    """Whether it succeeded; it speaks for itself, to our own terminal."""
    command = [program(CONTROL_PLANE), *map(str, words), "--state-dir", str(state_dir)]
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
    try:
        return ExitCode.FAILED if await process.wait() else ExitCode.OK
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def findings(state_dir: Path) -> list[dict[str, Any]]:
    """What `arw-control-plane check` finds. ArwError when it finds no words."""
    command = [program(CONTROL_PLANE), "check", "--output", "json", "--state-dir", str(state_dir)]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, errors = await process.communicate()
    try:
        found: list[dict[str, Any]] = json.loads(said)
    except ValueError:
        text = errors.decode(errors="replace").strip().rpartition("\n")[2]
        raise ArwError(
            "LOCAL_STEP_FAILED", f"`{CONTROL_PLANE} check` failed: {text}", f"Run it yourself: {CONTROL_PLANE} check"
        ) from None
    return found
