"""Runs a binary to hear what it says of itself."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from node_agent.domain.errors import EngineNotFound
from node_agent.domain.inventory import Engine
from node_agent.runtimes.kinds import unanswered
from node_agent.runtimes.kinds.unanswered import Cause

PATIENCE_S = 20.0
INHERITED = (
    "PATH",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "GGML_VK_VISIBLE_DEVICES",
    "GGML_BACKEND_PATH",
    "TZ",
)
"""What the node's owner may set for engines; all else of the agent's environment stays with the agent."""


def environment(scratch: Path) -> dict[str, str]:
    """From nothing, with an allow-list: no LLAMA_ARG_*, no tokens, no debug switches that show prompts."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    own = {
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "GGML_NO_BACKTRACE": "1",
    }
    return {"PATH": os.defpath, **inherited, **own}


async def ask(engine: Engine, *options: str, patience_s: float = PATIENCE_S) -> str:
    """What it prints, on either stream. EngineNotFound when it cannot be run, fails, or takes too long."""
    try:
        process = await asyncio.create_subprocess_exec(
            *engine.command,
            *options,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(engine.environment) or environment(Path(os.devnull)),
            start_new_session=True,
        )
    except OSError as error:
        raise _unusable(engine, options, unanswered.not_started(Path(engine.command[0]), error)) from error
    try:
        async with asyncio.timeout(patience_s):
            said, _ = await process.communicate()
    except TimeoutError as error:
        raise _unusable(engine, options, unanswered.too_late(patience_s)) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    words = said.decode(errors="replace")
    if process.returncode:
        raise _unusable(engine, options, unanswered.ended(process.returncode, words))
    return words


def _unusable(engine: Engine, options: tuple[str, ...], cause: Cause) -> EngineNotFound:
    main = engine.digests[0][0] if engine.digests else engine.command[0]
    return EngineNotFound(
        f"The engine {main} does not answer {' '.join(options)}: {cause.why}.",
        f"{cause.remedy} Or trust another with `arw-node-agent trust {engine.adapter} PATH`.",
        path=main,
    )
