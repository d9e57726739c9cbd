"""NVIDIA GPUs, asked for in a child with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from datetime import timedelta
from pathlib import Path

import msgspec
import structlog

from node_agent.domain.inventory import Accelerator

log = structlog.get_logger()

PROBE = Path(__file__).with_name("nvidia_probe.py")
MAX_OUTPUT = 1 << 20
KILL_PATIENCE_S = 2.0
INHERITED = ("PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")


class _Found(msgspec.Struct):
    id: str
    display_name: str
    memory_bytes: int
    driver_version: str


async def nvidia_gpus(patience: timedelta, probe: Path = PROBE) -> tuple[Accelerator, ...]:
    """None, when there is no driver or it does not answer in time; the log says which."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        str(probe),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={name: os.environ[name] for name in INHERITED if name in os.environ},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(patience.total_seconds()):
            said, _ = await process.communicate()
    except TimeoutError:
        log.warning("nvidia_probe_hangs", seconds=patience.total_seconds())
        await _end(process)
        return ()
    return _accelerators(said[:MAX_OUTPUT], process.returncode)


async def _end(process: asyncio.subprocess.Process) -> None:
    """A child that waits in the driver survives even SIGKILL; nobody waits for that."""
    process.kill()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILL_PATIENCE_S):
            await process.wait()


def _accelerators(said: bytes, status: int | None) -> tuple[Accelerator, ...]:
    try:
        found = msgspec.json.decode(said, type=list[_Found])
    except msgspec.DecodeError:
        log.warning("nvidia_probe_failed", status=status)
        return ()
    return tuple(
        Accelerator(gpu.id, "gpu_cuda", gpu.display_name, gpu.memory_bytes, gpu.driver_version) for gpu in found
    )
