"""One launch of an engine, from its checks to its end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from node_agent.domain.device_limits import Fence, fence_for
from node_agent.domain.errors import EngineIdentityMismatch, LocalPolicyDenied, PortUnavailable
from node_agent.domain.footprint import FootprintKey, given
from node_agent.domain.limits import Limits, permits
from node_agent.domain.observed import launch_key
from node_agent.domain.spec import InstanceSpec
from node_agent.domain.status import Problem
from node_agent.runtimes import checks, verdict
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.ending import clear, settle, stop
from node_agent.runtimes.equipment import Equipment
from node_agent.runtimes.events import End, Event, GivenUp, Launched, Learnt, Probed, Progressed, Ready, Unkillable
from node_agent.runtimes.footprints import FootprintMeter, family, memory_of
from node_agent.runtimes.kinds.adapter import Adapter, Endpoint, Feature, Gauges, InUse, Readiness
from node_agent.runtimes.kinds.model_list import identity_mismatch
from node_agent.runtimes.launcher import Running, launch
from node_agent.runtimes.listeners import is_strangers
from node_agent.runtimes.logs import log_name, tail_lines
from node_agent.runtimes.probe import HOST
from node_agent.runtimes.progress import ProgressWatch, cpu_time
from node_agent.runtimes.records import ExitNote, LaunchRecord
from node_agent.runtimes.sandbox.plan import Start, sandbox_of
from node_agent.runtimes.tree import Tree, holds_lock
from wire.engine_options import options_digest

PORT_TRIES = 3
LOG_LINES = 60
READ_BACK_LINES = 2000
KILLED = (signal.SIGKILL, signal.SIGTERM)
"""Somebody else's doing: the log does not tell why."""


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
        self._launched_here = False
        self._in_use = InUse()
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
        self._launched_here = True
        running = await launch(self._home, record, self._timers.spawn)
        return await self.watch(running, record)

    async def _prepare(self) -> LaunchRecord:
        engine = await checks.thorough(self._spec, self._equipment)
        able = await self._adapter.probe(engine)
        limits = self._limits()
        fence = await self._fence(limits)
        wanted = replace(self._spec, accelerator=fence.accelerator)
        at = Endpoint(_port(self._spec), self._home.key_file)
        command = self._adapter.render(wanted, engine, able, at, self._home.scratch)
        start = Start(wanted, engine, self._adapter.traits, at, self._home)
        sandbox = await asyncio.to_thread(sandbox_of, start, limits)
        incarnation = self._reserve()
        if not self._home.lock_is_free():
            await clear(self._home, None, self._unkillable)
        return LaunchRecord(
            incarnation=incarnation,
            argv=command.argv,
            env={**command.env, **(fence.environment or {})},
            cwd=command.directory or str(self._home.scratch),
            cgroup=self._home.cgroup_leaf(incarnation),
            log=log_name(incarnation),
            log_bytes=self._equipment.log_bytes,
            log_pieces=self._equipment.log_pieces,
            port=at.port,
            key_file=str(at.key_file),
            engine=able.version,
            engine_sha256=engine.digests[0][1] if engine.digests else "",
            launch_key=launch_key(self._spec),
            time=self._equipment.now().timestamp(),
            missing_accelerator=command.missing_accelerator or fence.missing,
            sandbox=sandbox,
        )

    def _limits(self) -> Limits:
        """They may have changed since the start was decided. LocalPolicyDenied."""
        limits = self._equipment.limits()
        problem = permits(limits, self._spec, self._equipment.now(), ())
        if problem is not None:
            raise LocalPolicyDenied(problem.text, problem.remedy, **problem.metadata)
        return limits

    async def _fence(self, limits: Limits) -> Fence:
        """LocalPolicyDenied, AcceleratorLeaking."""
        if limits.devices.is_free and not self._equipment.device_memory.leaks():
            return Fence(self._spec.accelerator)
        return fence_for(limits, self._spec, await self._equipment.devices())

    async def watch(self, running: Running, record: LaunchRecord) -> End:
        """Look after a launch that this agent or an earlier one made, until it ends."""
        self._tell(Launched(running, record))
        refusal = await self._until_ready(running, record)
        was_ready = refusal is None and not running.engine.ended
        if was_ready:
            refusal = await self._while_ready(running, record)
        if refusal is not None:
            self._look_at_devices(running)
            self._tell(GivenUp(refusal))
            await self._equipment.part(self._spec.name)
            note = await stop(self._home, running, self._timers.stop_grace, self._unkillable)
        else:
            note = await settle(self._home, running, self._unkillable)
        self._equipment.device_memory.ended(self._spec.name)
        return self._end(record, note, refusal, was_ready=was_ready)

    def _unkillable(self) -> None:
        self._tell(Unkillable())

    async def _until_ready(self, running: Running, record: LaunchRecord) -> Problem | None:
        """None: it is ready, or it ended."""
        patience = await self._start_deadline(record)
        deadline = record.time + patience.total_seconds()
        while not running.engine.ended:
            if await self._readiness(record.port) is Readiness.READY:
                return await self._welcome(running, record)
            now = self._equipment.now().timestamp()
            if now > deadline and not self._equipment.hands_off():
                return verdict.too_late(patience)
            await running.engine.wait(self._timers.ready_pause(timedelta(seconds=now - record.time)))
        return None

    async def _start_deadline(self, record: LaunchRecord) -> timedelta:
        projector = self._spec.projector.size_bytes if self._spec.projector is not None else 0
        path = self._spec.model.path
        speed = await asyncio.to_thread(self._equipment.digests.read_speed, path) if path else None
        known = await asyncio.to_thread(self._equipment.footprints.slowest_load, self._key(record))
        deadline = self._timers.start_deadline(self._spec.model.size_bytes + projector, speed, known)
        return deadline + self._adapter.traits.slow_start

    async def _welcome(self, running: Running, record: LaunchRecord) -> Problem | None:
        key, patience = self._home.key(), self._timers.probe_timeout
        try:
            await self._check_listener(running, record.port)
            await self._adapter.prove(self._spec, record.port, key, patience)
        except EngineIdentityMismatch as refusal:
            return Problem.of(refusal)
        lines = tail_lines(self._home.path, READ_BACK_LINES, record.incarnation)
        self._in_use = await self._adapter.in_use(self._spec, record.port, key, patience, lines)
        self._tell(Ready(self._in_use))
        return None

    async def _check_listener(self, running: Running, port: int) -> None:
        """An engine without a key is known by its socket. EngineIdentityMismatch when it is another's."""
        if Feature.KEY in self._adapter.traits.features:
            return
        ours = await asyncio.to_thread(Tree(self._home, running.record).members)
        if await asyncio.to_thread(is_strangers, port, ours):
            raise identity_mismatch(port)

    async def _readiness(self, port: int) -> Readiness:
        return await self._adapter.readiness(self._spec, port, self._home.key(), self._timers.probe_timeout)

    async def _while_ready(self, running: Running, record: LaunchRecord) -> Problem | None:
        """None: it ended."""
        misses, progress, meter = 0, self._progress(running, record), self._meter(running, record)
        await meter.learn(self._load_time(record))
        while not await running.engine.wait(self._timers.probe_period):
            latency = await self._probe(record.port)
            if running.engine.ended:
                return None
            misses = misses + 1 if latency is None else 0
            gauges = await self._gauges(record.port) if latency is not None else Gauges()
            self._tell(Probed(latency, misses, gauges))
            if self._equipment.hands_off():
                continue
            if misses >= self._timers.probe_misses:
                return verdict.hangs(misses)
            self._look_at_devices(running)
            await meter.probed()
            stall = await progress.look()
            if stall is not None and stall.final:
                return verdict.stalled(stall, tail_lines(self._home.path, LOG_LINES, record.incarnation))
            self._tell(Progressed(verdict.slow(stall) if stall is not None else None))
        return None

    async def _probe(self, port: int) -> timedelta | None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await self._readiness(port)
        return timedelta(seconds=loop.time() - began) if answer is Readiness.READY else None

    async def _gauges(self, port: int) -> Gauges:
        return await self._adapter.gauges(self._spec, port, self._home.key(), self._timers.probe_timeout)

    def _look_at_devices(self, running: Running) -> None:
        engine, lock = running.record.engine_pid, self._home.lock
        self._equipment.device_memory.look(self._spec.name, lambda pid: pid == engine or holds_lock(pid, lock))

    def _load_time(self, record: LaunchRecord) -> timedelta | None:
        """Call it once it is ready. None: an earlier agent launched it."""
        return timedelta(seconds=self._equipment.now().timestamp() - record.time) if self._launched_here else None

    def _key(self, record: LaunchRecord) -> FootprintKey:
        spec = self._spec
        return FootprintKey(
            spec.model.sha256, record.engine_sha256, options_digest(given(spec.settings)), self._in_use.accelerator
        )

    def _meter(self, running: Running, record: LaunchRecord) -> FootprintMeter:
        engine = running.record.engine_pid
        parent = running.record.shim_pid if running.shim is not None else engine
        return FootprintMeter(
            self._equipment.footprints,
            self._key(record),
            lambda: memory_of({engine, *family(parent)}),
            lambda: self._equipment.device_memory.held(self._spec.name),
            lambda footprint: self._tell(Learnt(footprint)),
        )

    def _progress(self, running: Running, record: LaunchRecord) -> ProgressWatch:
        async def word() -> str | None:
            return await self._adapter.word(self._spec, record.port, self._home.key(), self._timers.probe_timeout)

        return ProgressWatch(
            lambda: self._equipment.traffic(self._spec.name),
            word,
            lambda: cpu_time(Tree(self._home, running.record).members()),
            self._timers,
        )

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


def _port(spec: InstanceSpec) -> int:
    """The one that the spec insists on, or any. Free a moment ago; who loses the race for it says so in its log."""
    wanted = spec.process.port if spec.process is not None else 0
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)) as probe:
        if wanted:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise PortUnavailable(
                f"Port {wanted} of this node cannot be used: {error.strerror}.",
                "Stop what uses it, or let the agent choose: put {port} into the command instead.",
                port=str(wanted),
            ) from error
        return int(probe.getsockname()[1])
