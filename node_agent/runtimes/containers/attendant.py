"""Looks after the container of one launch: the way into it, its image's own health check, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import structlog

from node_agent.domain.status import Problem
from node_agent.runtimes.containers.image_health import ImageHealth
from node_agent.runtimes.containers.out_of_memory import counter_of, kills
from node_agent.runtimes.containers.tool import ContainerTool, ToolError, ToolKind
from node_agent.runtimes.footprints import family
from node_agent.runtimes.process import Process as Held
from node_agent.runtimes.process import start_ticks
from node_agent.runtimes.records import ContainerRecord, ExitNote, LaunchRecord

log = structlog.get_logger()

PASSAGE = Path(__file__).with_name("passage.py")
PASSAGE_PATIENCE_S = 5.0
LOOK_AGAIN_S = 0.1
EVIDENCE_S = 3.0
CLIENT_ALONE = timedelta(seconds=0.5)
"""After the client's end: what still runs then has lost its client, and did not end."""
OVER = ("exited", "stopped", "dead", "removing")


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of what the exit record does not tell."""

    oom_killed: bool = False
    memory_limit_bytes: int = 0

    def added_to(self, note: ExitNote | None) -> ExitNote | None:
        if note is None or not self.oom_killed:
            return note
        return replace(note, oom_killed=True, memory_limit_bytes=self.memory_limit_bytes)


class Attendance(Protocol):
    """What whoever watches an engine asks of what runs beside it."""

    @property
    def problem(self) -> Problem | None:
        """Why the engine can never be reached."""

    @property
    def unwell(self) -> str:
        """What its image's own check says; empty: nothing bad."""

    def pids(self) -> set[int]:
        """Of the engine, where they are not of its shim's tree."""

    async def run(self) -> None:
        """Until the engine has ended."""

    async def evidence(self) -> Evidence:
        """Call it once the engine ended, before anything is cleared up."""


class Unattended:
    """Of an engine that runs natively."""

    problem = None
    unwell = ""

    def pids(self) -> set[int]:
        return set()

    async def run(self) -> None:
        """Nothing runs beside it."""

    async def evidence(self) -> Evidence:
        return Evidence()


class Attendant:
    """One for each time that a launch is watched: the way in ends with the agent, and the next one makes its own."""

    def __init__(self, record: LaunchRecord, container: ContainerRecord) -> None:
        self._container = container
        self._port = record.port
        self._tool = tool_of(record, container)
        self._init: Held | None = None
        self._evidence = Evidence()
        self._done = asyncio.Event()
        self.problem: Problem | None = None
        self.unwell = ""

    def pids(self) -> set[int]:
        return {self._init.pid, *family(self._init.pid)} if self._init is not None and not self._init.ended else set()

    async def run(self) -> None:
        try:
            self._init = await self._first_process()
            if self._init is not None:
                await self._attend(self._init)
        finally:
            self._done.set()
            if self._init is not None:
                self._init.release()

    async def evidence(self) -> Evidence:
        if self._init is not None and not await self._init.wait(CLIENT_ALONE):
            return self._evidence
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVIDENCE_S):
                await self._done.wait()
        return self._evidence

    async def _attend(self, init: Held) -> None:
        counter = counter_of(init.pid)
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._keep_open(init)), group.create_task(self._keep_checking())]
            await init.wait()
            if await self._ran_out(counter):
                self._evidence = Evidence(oom_killed=True, memory_limit_bytes=self._container.memory_bytes)
            for task in beside:
                task.cancel()

    async def _first_process(self) -> Held | None:
        """None: the container ended before it could be held."""
        while True:
            status, _, pid = (await self._state("{{.State.Status}} {{.State.Pid}}")).partition(" ")
            if status in OVER:
                return None
            ticks = start_ticks(int(pid)) if pid not in ("", "0") else None
            held = Held.hold(int(pid), ticks) if ticks is not None else None
            if held is not None:
                return held
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _state(self, form: str) -> str:
        """Empty while the tool knows of no such container yet."""
        try:
            return (await self._tool.ask("container", "inspect", "--format", form, self._container.name)).strip()
        except ToolError:
            return ""

    async def _ran_out(self, counter: Path | None) -> bool:
        """Under version 1 of control groups podman does not say so; the group itself is there for a moment more."""
        if counter is not None and kills(counter):
            return True
        return await self._state("{{.State.OOMKilled}}") == "true"

    async def _keep_checking(self) -> None:
        if self._container.check is not None:
            await ImageHealth(self._tool, self._container.name, self._container.check, self._hear).run()

    def _hear(self, complaint: str) -> None:
        if complaint and not self.unwell:
            log.warning("image_check_fails", container=self._container.name, complaint=complaint)
        self.unwell = complaint

    async def _keep_open(self, init: Held) -> None:
        """The way in, and another one when it ends."""
        while self.problem is None:
            process = await self._way_in(init)
            try:
                self.problem = await self._refusal(process)
                await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _way_in(self, init: Held) -> Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(PASSAGE), str(self._port), str(init.pid), str(start_ticks(init.pid))),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={},
            start_new_session=True,
        )

    async def _refusal(self, process: Process) -> Problem | None:
        """None: it is open, or there is nothing any more that it could lead to."""
        if process.stdout is None or process.stderr is None:
            raise RuntimeError("the way into a container was started without pipes")
        try:
            async with asyncio.timeout(PASSAGE_PATIENCE_S):
                if await process.stdout.readline() == b"ok\n" or self._init is None or self._init.ended:
                    return None
                said = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
        except TimeoutError:
            said = [f"it was not open within {PASSAGE_PATIENCE_S:g} s"]
        text = f"There is no way into the engine's container: {said[-1] if said else 'nothing says why'}."
        remedy = "Look at what listens on the loopback interface of this node, and whether the agent may enter it."
        return Problem("PORT_UNAVAILABLE", text, remedy, {"port": str(self._port)})


def attendant_of(record: LaunchRecord) -> Attendance:
    return Unattended() if record.container is None else Attendant(record, record.container)


def tool_of(record: LaunchRecord, container: ContainerRecord) -> ContainerTool:
    return ContainerTool(container.tool, ToolKind(container.kind), environment=record.env)
