"""A node's state directory with the real supervisor, shim and adapter, and an engine to order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from node_agent.disk.database import Database
from node_agent.disk.digests import DiskDigests
from node_agent.disk.footprints import SqliteFootprints
from node_agent.domain.inventory import Accelerator
from node_agent.domain.limits import Limits
from node_agent.domain.sandbox import Sandbox
from node_agent.domain.spec import InstanceSpec
from node_agent.domain.status import InstanceState, InstanceStatus, Problem
from node_agent.domain.timers import TEST, Timers
from node_agent.runtimes import assembly
from node_agent.runtimes.device_troubles import DeviceWatch
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.engines import LLAMA_CPP
from node_agent.runtimes.leaks import LeakWatch
from node_agent.runtimes.process import start_ticks
from node_agent.runtimes.shutdown import stop_everything
from node_agent.runtimes.supervisor import LocalSupervisor
from node_agent.runtimes.survivors import Survivors
from node_agent.runtimes.trust import trust
from tests.fakes import fake_runtime, owner_file
from tests.fakes.instance_specs import NAME, model_at, spec
from tests.fakes.patience import SLACK

PATIENCE_S = 20 * SLACK
TIMERS = replace(
    TEST,
    stop_grace=timedelta(seconds=0.5),
    start_base=timedelta(seconds=5),
    probe_period=timedelta(seconds=0.2),
    probe_timeout=timedelta(seconds=0.5),
)


class LocalNode:
    def __init__(self, path: Path, model: Path) -> None:
        self.path = path / "state"
        self.path.mkdir(mode=0o700)
        self.sandbox = Sandbox(use=(str(owner_file.FAKES),), write=(str(path),))
        self.behaviour = path / "behaviour.json"
        self.binary = path / "llama-server"
        self.model = model_at(model)
        self.database = Database(self.path / "agent.db")
        self.digests = DiskDigests(self.database)
        self.footprints = SqliteFootprints(self.database)
        self.home = InstanceDirectory.of(self.path / "instances", NAME)
        self.history: list[InstanceStatus] = []

    async def make_engine(self, **behaviour: Any) -> None:
        """Trust the fake runtime, behaving like this."""
        self.behave(**behaviour)
        fake = fake_runtime.__file__
        self.binary.write_text(f'#!/bin/sh\nexec {sys.executable} {fake} --behaviour {self.behaviour} "$@"\n')
        self.binary.chmod(0o700)
        await self.trust(self.binary)

    async def trust(self, path: Path, adapter: str = LLAMA_CPP) -> None:
        listed = assembly.trust_list(self.path, self.digests)
        known = assembly.adapters()[adapter]
        await trust(listed, known, known.candidate(path))

    def behave(self, **behaviour: Any) -> None:
        self.behaviour.write_text(json.dumps(behaviour))

    def spec(self, **changes: Any) -> InstanceSpec:
        return spec(**{"model": self.model, **changes})

    @property
    def starts(self) -> list[int]:
        file = self.behaviour.with_suffix(".starts")
        return [int(pid) for pid in file.read_text().split()] if file.exists() else []

    @asynccontextmanager
    async def agent(
        self,
        *specs: InstanceSpec,
        timers: Timers = TIMERS,
        limits: Callable[[], Limits] = Limits,
        devices: Sequence[Accelerator] = (),
        leaks: LeakWatch | None = None,
        troubles: DeviceWatch | None = None,
        hands_off: Callable[[], bool] = lambda: False,
        closed: Callable[[], Problem | None] = lambda: None,
        silence: Callable[[], timedelta | None] = lambda: None,
        survivors: Survivors | None = None,
        free_memory: int | None = None,
    ) -> AsyncIterator[LocalSupervisor]:
        """The supervisor for as long as the block lasts; its end leaves engines running, like the agent's.

        With `free_memory`, as far as it goes, an engine is replaced without a gap.

        Within `limits`, engines get `self.sandbox`.
        """

        async def seen() -> Sequence[Accelerator]:
            return devices

        supervisor = assembly.supervisor(
            self.path,
            self.digests,
            timers,
            assembly.adapters(),
            limits=lambda: replace(limits(), sandbox=self.sandbox),
            devices=leaks.devices if leaks is not None else seen,
            device_memory=leaks,
            device_troubles=troubles,
            footprints=self.footprints,
            hands_off=hands_off,
            closed=closed,
            silence=silence,
            survivors=survivors,
            free_memory=lambda: free_memory,
        )
        supervisor.on_status(self.history.append)
        supervisor.desire(specs)
        task = asyncio.create_task(supervisor.run())
        try:
            yield supervisor
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def clean_up(self) -> None:
        for pid in self.starts:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        await stop_everything(self.path / "instances", timedelta(seconds=0.2))
        self.database.close()


async def until(supervisor: LocalSupervisor, wanted: Callable[[InstanceStatus], bool]) -> InstanceStatus:
    """The first status of its only instance that is as wanted."""
    seen = asyncio.Event()
    supervisor.on_status(lambda _: seen.set())
    async with asyncio.timeout(PATIENCE_S):
        while True:
            seen.clear()
            found = [status for status in supervisor.statuses() if wanted(status)]
            if found:
                return found[0]
            await seen.wait()


async def until_ready(supervisor: LocalSupervisor) -> InstanceStatus:
    return await until(supervisor, lambda status: status.state is InstanceState.READY)


async def until_state(supervisor: LocalSupervisor, state: InstanceState) -> InstanceStatus:
    return await until(supervisor, lambda status: status.state is state)


async def until_gone(pid: int) -> None:
    await until_so(lambda: start_ticks(pid) is None)


async def until_started(node: LocalNode, times: int) -> None:
    await until_so(lambda: len(node.starts) >= times)


async def until_so(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.01)


def engine_pid(status: InstanceStatus) -> int:
    assert status.process is not None
    return status.process.engine_pid


def shim_pid(status: InstanceStatus) -> int:
    assert status.process is not None
    return status.process.shim_pid
