"""The steps of the demonstration."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from arw_client import ArwError, Client, TimedOutError, resource_name
from arw_client import messages as m
from arwctl import applying, manifest, status_view
from arwctl.command import Call
from arwctl.local.demo_kinds import Interruption, Subject
from arwctl.local.machine import Newcomer
from arwctl.local.ports import free_ports
from arwctl.local.up import up

READY_S = 120.0
BACK_S = 60.0


class Demo:
    """One run in a folder of its own, on ports that nobody uses."""

    def __init__(self, call: Call, folder: Path, subject: Subject) -> None:
        self._call = call
        self._screen = call.screen
        self._folder = folder
        self._subject = subject

    async def run(self) -> None:
        self._screen.line("1. A tiny model and a control plane with one node")
        await asyncio.to_thread(self._subject.make_model, self._folder)
        await up(self._call, free_ports(), Newcomer("demo"))
        self._screen.line("\n2. Declare a runtime and wait until it serves")
        await self._apply()
        self._screen.line("\n3. Ask it")
        await self._ask()
        self._screen.line("\n4. What the control plane sees")
        await self._interrupt(await self._show())
        await self._ask()

    async def _apply(self) -> None:
        file = self._folder / f"{self._subject.runtime}.toml"
        file.write_text(self._subject.manifest)
        async with self._call.client() as client:
            applied = await applying.apply(client, self._call, manifest.read(file), validate_only=False)
            applying.tell(self._screen, applied, validate_only=False)
            await applying.wait(client, self._screen, applied, READY_S)

    async def _ask(self) -> None:
        if not (await self._subject.ask(self._call, self._folder)).strip():
            raise ArwError("ENGINE_FAILED", "The reply was empty.", "Read the engine's log.")

    async def _show(self) -> int:
        """The pid of the engine."""
        async with self._call.client() as client:
            found = await status_view.fetch(client)
        status_view.print_status(self._screen, found)
        status = found.of(self._subject.runtime) or m.RuntimeStatus()
        if not status.engine_pid:
            raise ArwError("NOT_READY", "The engine's pid is not known.", "Read the node agent's log.")
        return status.engine_pid

    async def _interrupt(self, engine: int) -> None:
        """Take the engine away and wait for the next one."""
        if self._subject.interruption is Interruption.KILL:
            self._screen.line(f"\n5. Kill the engine (kill -9 {engine}) and ask again")
            os.kill(engine, signal.SIGKILL)
        else:
            self._screen.line(
                f"\n5. Restore it by force (runtime restore {self._subject.runtime} --restart), ask again"
            )
            await self._restore()
        await self._back(engine)

    async def _restore(self) -> None:
        name = resource_name("runtimes", self._subject.runtime)
        async with self._call.client() as client:
            await client.runtimes.restore_runtime(m.RestoreRuntimeRequest(name=name, restart=True))

    async def _back(self, before: int) -> None:
        try:
            async with asyncio.timeout(BACK_S), self._call.client() as client:
                back = await self._next_engine(client, before)
        except TimeoutError:
            raise TimedOutError(
                f"The engine did not come back within {BACK_S:g} s.", "Read the node agent's log."
            ) from None
        self._screen.line(f"{self._subject.runtime}: ready again, engine pid {back} (was {before})")

    async def _next_engine(self, client: Client, before: int) -> int:
        async for _ in client.runtimes.watch_runtimes(m.WatchRuntimesRequest()):
            status = (await status_view.fetch(client)).of(self._subject.runtime)
            if status and status.state == "ready" and status.engine_pid not in {0, before}:
                return status.engine_pid
        raise ArwError("UNAVAILABLE", "The control plane stopped watching.", "Read its log.")
