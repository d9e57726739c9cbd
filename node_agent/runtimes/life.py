"""One launch of an engine, from its checks to its end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from node_agent.domain.errors import EngineIdentityMismatch
from node_agent.domain.observed import launch_key
from node_agent.domain.spec import InstanceSpec
from node_agent.domain.status import Problem
from node_agent.runtimes import checks, verdict
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.ending import clear, settle, stop
from node_agent.runtimes.equipment import Equipment
from node_agent.runtimes.kinds.adapter import Adapter, Endpoint, InUse, Readiness
from node_agent.runtimes.launcher import Running, launch
from node_agent.runtimes.logs import log_name, tail_lines
from node_agent.runtimes.probe import HOST
from node_agent.runtimes.records import ExitNote, LaunchRecord

PORT_TRIES = 3
LOG_LINES = 60
READ_BACK_LINES = 2000
KILLED = (signal.SIGKILL, signal.SIGTERM)
"""Somebody else's doing: the log does not tell why."""


@dataclass(frozen=True, slots=True)
class Launched:
    running: Running
    record: LaunchRecord


@dataclass(frozen=True, slots=True)
class Ready:
    in_use: InUse


@dataclass(frozen=True, slots=True)
class Probed:
    latency: timedelta | None
    """None: no answer in time."""
    misses: int
    """In a row."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """It runs, but it is of no use: it is being stopped."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Unkillable:
    """It survives SIGKILL; nothing is started in its place."""


Event = Launched | Ready | Probed | GivenUp | Unkillable


@dataclass(frozen=True, slots=True)
class End:
    """How a launch ended without being told to."""

    problem: Problem
    note: ExitNote | None
    log_tail: tuple[str, ...] = ()
    hopeless: bool = False
    port_taken: bool = False


class Life:
    """Tells its owner what happens. Cancelling leaves the engine running; stopping it is the owner's to do."""

    def __init__(
        self,
        equipment: Equipment,
        home: InstanceDirectory,
        spec: InstanceSpec,
        reserve: Callable[[], int],
        tell: Callable[[Event], None],
    ) -> None:
        self._equipment = equipment
        self._timers = equipment.timers
        self._home = home
        self._spec = spec
        self._reserve = reserve
        self._tell = tell
        self._adapter: Adapter = checks.adapter_of(spec, equipment)

    async def run(self) -> End:
        """Start and watch. A Refusal says why nothing was started."""
        end = await self._once()
        for _ in range(PORT_TRIES - 1):
            if not end.port_taken:
                break
            end = await self._once()
        return end

    async def _once(self) -> End:
        record = await self._prepare()
        running = await launch(self._home, record, self._timers.spawn)
        return await self.watch(running, record)

    async def _prepare(self) -> LaunchRecord:
        engine = await checks.thorough(self._spec, self._equipment)
        able = await self._adapter.probe(engine)
        at = Endpoint(_free_port(), self._home.key_file)
        command = self._adapter.render(self._spec, engine, able, at, self._home.scratch)
        incarnation = self._reserve()
        if not self._home.lock_is_free():
            await clear(self._home, None, self._unkillable)
        return LaunchRecord(
            incarnation=incarnation,
            argv=command.argv,
            env=command.env,
            cwd=str(self._home.scratch),
            cgroup=self._home.cgroup_leaf(incarnation),
            log=log_name(incarnation),
            log_bytes=self._equipment.log_bytes,
            log_pieces=self._equipment.log_pieces,
            port=at.port,
            key_file=str(at.key_file),
            engine=able.version,
            launch_key=launch_key(self._spec),
            time=self._equipment.now().timestamp(),
            missing_accelerator=command.missing_accelerator,
        )

    async def watch(self, running: Running, record: LaunchRecord) -> End:
        """Look after a launch that this agent or an earlier one made, until it ends."""
        self._tell(Launched(running, record))
        refusal = await self._until_ready(running, record)
        was_ready = refusal is None and not running.engine.ended
        if was_ready:
            refusal = await self._while_ready(running, record)
        if refusal is not None:
            self._tell(GivenUp(refusal))
            await self._equipment.part(self._spec.name)
            note = await stop(self._home, running, self._timers.stop_grace, self._unkillable)
        else:
            note = await settle(self._home, running, self._unkillable)
        return self._end(record, note, refusal, was_ready=was_ready)

    def _unkillable(self) -> None:
        self._tell(Unkillable())

    async def _until_ready(self, running: Running, record: LaunchRecord) -> Problem | None:
        """None: it is ready, or it ended."""
        deadline = record.time + self._timers.start_deadline(self._spec.model.size_bytes).total_seconds()
        while not running.engine.ended:
            if await self._adapter.readiness(record.port, self._timers.probe_timeout) is Readiness.READY:
                return await self._welcome(record)
            if self._equipment.now().timestamp() > deadline:
                return verdict.too_late(self._timers.start_deadline(self._spec.model.size_bytes))
            await running.engine.wait(self._timers.ready_poll)
        return None

    async def _welcome(self, record: LaunchRecord) -> Problem | None:
        key, patience = self._home.key(), self._timers.probe_timeout
        try:
            await self._adapter.prove(self._spec, record.port, key, patience)
        except EngineIdentityMismatch as refusal:
            return Problem.of(refusal)
        lines = tail_lines(self._home.path, READ_BACK_LINES, record.incarnation)
        self._tell(Ready(await self._adapter.in_use(record.port, key, patience, lines)))
        return None

    async def _while_ready(self, running: Running, record: LaunchRecord) -> Problem | None:
        """None: it ended."""
        misses = 0
        while not await running.engine.wait(self._timers.probe_period):
            latency = await self._probe(record.port)
            if running.engine.ended:
                return None
            misses = misses + 1 if latency is None else 0
            self._tell(Probed(latency, misses))
            if misses >= self._timers.probe_misses:
                return verdict.hangs(misses)
        return None

    async def _probe(self, port: int) -> timedelta | None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await self._adapter.readiness(port, self._timers.probe_timeout)
        return timedelta(seconds=loop.time() - began) if answer is Readiness.READY else None

    def _end(self, record: LaunchRecord, note: ExitNote | None, problem: Problem | None, *, was_ready: bool) -> End:
        lines = tail_lines(self._home.path, LOG_LINES, record.incarnation)
        if problem is not None:
            return End(problem, note, lines)
        if note is not None and not note.not_started and not note.oom_killed and note.signal not in KILLED:
            finding = self._adapter.classify(lines)
            taken = not was_ready and self._adapter.port_was_taken(lines)
            if finding is not None:
                return End(finding.problem, note, lines, finding.hopeless and not was_ready, taken)
        return End(verdict.ended(note, was_ready=was_ready), note, lines, bool(note and note.not_started))


def _free_port() -> int:
    """Free a moment ago; who loses the race for it says so in its log, and gets another."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
