"""The steps of the demonstration."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from arw_client import ArwError, Client, Prompt, TimedOutError
from arw_client import messages as m
from arwctl import applying, manifest, status_view
from arwctl.command import Call
from arwctl.groups.chat import print_stream
from arwctl.local.machine import Newcomer
from arwctl.local.ports import free_ports
from arwctl.local.up import up

RUNTIME = "tiny-chat"
READY_S = 120.0
BACK_S = 60.0
ASK_S = 0.1
MANIFEST = """\
version = 1

[[models]]
id = "tiny-chat"
path = "tiny-chat.gguf"

[[runtimes]]
id = "tiny-chat"
name = "Tiny chat"
adapter = "llama.cpp"
model = "tiny-chat"
auto_start = true
modalities = ["text"]
accelerator = "cpu"

[runtimes.settings]
context_length = 1024
slots = 2
"""


class Demo:
    """One run in a folder of its own, on ports that nobody uses."""

    def __init__(self, call: Call, folder: Path) -> None:
        self._call = call
        self._screen = call.screen
        self._folder = folder

    async def run(self) -> None:
        self._screen.line("1. A tiny model and a control plane with one node")
        await asyncio.to_thread(make_model, self._folder / "tiny-chat.gguf")
        await up(self._call, free_ports(), Newcomer("demo"))
        self._screen.line("\n2. Declare a runtime and wait until it serves")
        await self._apply()
        self._screen.line("\n3. Ask it")
        await self._chat()
        self._screen.line("\n4. What the control plane sees")
        killed = await self._show()
        self._screen.line(f"\n5. Kill the engine (kill -9 {killed}) and ask again")
        os.kill(killed, signal.SIGKILL)
        await self._back(killed)
        await self._chat()

    async def _apply(self) -> None:
        file = self._folder / "tiny-chat.toml"
        file.write_text(MANIFEST)
        async with self._call.client() as client:
            applied = await applying.apply(client, self._screen, manifest.read(file), validate_only=False)
            applying.tell(self._screen, applied, validate_only=False)
            await applying.wait(client, self._screen, applied, READY_S)

    async def _chat(self) -> None:
        question = "hello"
        self._screen.line(f"> {question}")
        said = await print_stream(self._call, Prompt(RUNTIME, [{"role": "user", "content": question}]))
        if not said.strip():
            raise ArwError("ENGINE_FAILED", "The reply was empty.", "Read the engine's log.")

    async def _show(self) -> int:
        """The pid of the engine."""
        async with self._call.client() as client:
            found = await status_view.fetch(client)
        status_view.print_status(self._screen, found)
        status = found.of(RUNTIME) or m.RuntimeStatus()
        if not status.engine_pid:
            raise ArwError("NOT_READY", "The engine's pid is not known.", "Read the node agent's log.")
        return status.engine_pid

    async def _back(self, killed: int) -> None:
        try:
            async with asyncio.timeout(BACK_S), self._call.client() as client:
                back = await self._next_engine(client, killed)
        except TimeoutError:
            raise TimedOutError(
                f"The engine did not come back within {BACK_S:g} s.", "Read the node agent's log."
            ) from None
        self._screen.line(f"{RUNTIME}: ready again, engine pid {back} (was {killed})")

    @staticmethod
    async def _next_engine(client: Client, killed: int) -> int:
        async for _ in client.runtimes.watch_runtimes(m.WatchRuntimesRequest()):
            status = (await status_view.fetch(client)).of(RUNTIME)
            if status and status.state == "ready" and status.engine_pid not in {0, killed}:
                return status.engine_pid
        raise ArwError("UNAVAILABLE", "The control plane stopped watching.", "Read its log.")


def make_model(path: Path) -> None:
    """ArwError when the packages that write it are not installed."""
    try:
        from arwctl import tiny_model  # noqa: PLC0415 - gguf and numpy are extras
    except ImportError as error:
        raise ArwError(
            "NOT_INSTALLED", f"The demo needs {error.name}.", "Install the extras: `pip install 'arw[demo,llama]'`."
        ) from error
    tiny_model.write(path)
