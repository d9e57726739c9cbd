"""Children that talk to drivers. One that waits in a driver survives even SIGKILL: nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence

KILL_PATIENCE_S = 2.0
MAX_LINE = 1 << 20
INHERITED = (
    "PATH",
    "LD_LIBRARY_PATH",
    "ROCM_PATH",
    "JETSON_JETPACK",
    "LLAMA_GPU_SIMULATE",
    "SYSTEMROOT",
    "WINDIR",
    "PROGRAMFILES",
)
INVENTORY = (sys.executable, "-I", "-m", "node_agent.hardware.inventory", "--lines")
USAGE = (sys.executable, "-I", "-m", "node_agent.hardware.usage")


async def started(command: Sequence[str]) -> Process:
    """With standard output to read lines from, and nothing of the agent's environment that it does not need.

    Its standard input ends with the agent, and it with that.
    """
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        limit=MAX_LINE,
        env={name: os.environ[name] for name in INHERITED if name in os.environ},
        start_new_session=True,
    )


async def ended(process: Process) -> bool:
    """Kill it and the tools it runs. False when it is stuck in a driver: then none is started before it is gone."""
    if process.returncode is None:
        # It leads a session of its own, and nobody else gets its number before it was waited for.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILL_PATIENCE_S):
            await process.wait()
    return process.returncode is not None


async def line_of(process: Process, patience_s: float) -> bytes:
    """The next line, without its end; empty at the end of all. TimeoutError; ValueError when it is too long."""
    if process.stdout is None:
        raise RuntimeError("the child was started without a pipe")
    async with asyncio.timeout(patience_s):
        return (await process.stdout.readline()).rstrip(b"\n")
