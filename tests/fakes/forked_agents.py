"""Agents that are killed by the hundred: each is forked from a process that has loaded everything already.

    python -m tests.fakes.forked_agents FOLDER      "start" on standard input is answered with a pid

An agent is the real supervisor over FOLDER/state, with real shims, and does as FOLDER/desired.json says whenever that
changes. What it has no part in here is the control link, which touches no process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import IO

import msgspec
import structlog

from node_agent.disk.database import Database
from node_agent.disk.digests import DiskDigests
from node_agent.disk.footprints import SqliteFootprints
from node_agent.domain.limits import Limits
from node_agent.domain.sandbox import Sandbox
from node_agent.domain.spec import InstanceSpec
from node_agent.domain.timers import TEST
from node_agent.runtimes import assembly
from node_agent.runtimes.engines import LLAMA_CPP
from node_agent.runtimes.trust import trust
from tests.fakes.owner_file import FAKES
from wire.atomic_file import write_atomically

TIMERS = replace(
    TEST,
    stop_grace=timedelta(seconds=0.3),
    probe_period=timedelta(seconds=0.2),
    recheck=timedelta(seconds=0.2),
    tick=timedelta(seconds=0.2),
    good_run=timedelta(seconds=0.1),
)
LOOK_S = 0.02
PLENTY = 1 << 40
"""So that engines are replaced without a gap."""


class ForkedAgents:
    """One at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "state").mkdir(mode=0o700)
        self.desire(())
        command = [sys.executable, "-m", __name__, str(folder)]
        with (folder / "agents.log").open("wb") as log:
            self._parent = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._agent = 0

    def desire(self, specs: Collection[InstanceSpec]) -> None:
        write_atomically(self._folder / "desired.json", msgspec.json.encode(list(specs)))

    def trust(self, engine: Path) -> None:
        asyncio.run(_trust(self._folder / "state", engine))

    def start(self) -> None:
        assert self._parent.stdin
        assert self._parent.stdout
        self._parent.stdin.write("start\n")
        self._parent.stdin.flush()
        self._agent = int(self._parent.stdout.readline())

    def kill(self) -> None:
        """Whoever is gone already failed: its parent waits for this one alone."""
        assert self._parent.stdin
        assert self._parent.stdout
        self._parent.stdin.write("kill\n")
        self._parent.stdin.flush()
        status = int(self._parent.stdout.readline())
        assert status == signal.SIGKILL, f"an agent ended by itself, status {status}:\n{self.log()}"

    def log(self) -> str:
        return (self._folder / "agents.log").read_text()[-5000:]

    def end(self) -> None:
        self._parent.communicate()


async def _trust(state: Path, engine: Path) -> None:
    database = Database(state / "agent.db")
    try:
        known = assembly.adapters()[LLAMA_CPP]
        await trust(assembly.trust_list(state, DiskDigests(database)), known, known.candidate(engine))
    finally:
        database.close()


async def serve(folder: Path) -> None:
    state = folder / "state"
    database = Database(state / "agent.db")
    limits = Limits(sandbox=Sandbox(use=(str(FAKES),), write=(str(folder),)))
    supervisor = assembly.supervisor(
        state,
        DiskDigests(database),
        TIMERS,
        assembly.adapters(),
        limits=lambda: limits,
        footprints=SqliteFootprints(database),
        free_memory=lambda: PLENTY,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(supervisor.run())
        content = b""
        while True:
            before, content = content, (folder / "desired.json").read_bytes()
            if content != before:
                supervisor.desire(msgspec.json.decode(content, type=list[InstanceSpec]))
            await asyncio.sleep(LOOK_S)


def main(requests: IO[str], folder: Path) -> None:
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(sys.stderr))
    agent = 0
    for request in requests:
        if request.strip() == "start":
            agent = os.fork()
            if agent == 0:
                asyncio.run(serve(folder))
            print(agent, flush=True)
        else:
            os.kill(agent, signal.SIGKILL)
            print(os.waitpid(agent, 0)[1], flush=True)
            agent = 0
    if agent:
        with suppress(ProcessLookupError):
            os.kill(agent, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.stdin, Path(sys.argv[1]))
