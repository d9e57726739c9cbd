"""One launch of an engine, from its checks to its end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial

from node_agent.domain.device_limits import visible_of
from node_agent.domain.device_trouble import DeviceUse
from node_agent.domain.errors import EngineIdentityMismatch
from node_agent.domain.footprint import FootprintKey, given
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import Problem
from node_agent.runtimes import checks, verdict
from node_agent.runtimes.containers.attendant import Attendance, Unattended, attendant_of
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.ending import make_way, settle, stop
from node_agent.runtimes.equipment import Equipment
from node_agent.runtimes.events import (
    DeviceTold,
    End,
    Event,
    GivenUp,
    Launched,
    Learnt,
    Probed,
    Progressed,
    Ready,
    Unkillable,
    Warmed,
    WarmingUp,
)
from node_agent.runtimes.footprints import FootprintMeter, memory_of
from node_agent.runtimes.kinds.adapter import Adapter, Feature, InUse, Readiness
from node_agent.runtimes.kinds.model_list import identity_mismatch
from node_agent.runtimes.launcher import Running, launch
from node_agent.runtimes.listeners import is_strangers
from node_agent.runtimes.logs import tail_lines
from node_agent.runtimes.preparation import Preparation
from node_agent.runtimes.processes import EngineProcesses
from node_agent.runtimes.progress import ProgressWatch, cpu_time
from node_agent.runtimes.pulse import Pulse
from node_agent.runtimes.records import ExitNote, LaunchRecord
from node_agent.runtimes.slots import Filled, Slots
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
        *,
        label: InstanceName,
    ) -> None:
        """`label`: the instance, or what tells this launch from the one beside it."""
        self._equipment = equipment
        self._timers = equipment.timers
        self._home = home
        self._spec = spec
        self._reserve = reserve
        self._tell = tell
        self._label = label
        self._launched_here = False
        self._in_use = InUse()
        self._loaded = 0.0
        """Unix seconds; its prompt cache is filled after that."""
        self._adapter: Adapter = checks.adapter_of(spec, equipment)
        self._preparation = Preparation(equipment, home, spec, self._adapter)
        self._attendant: Attendance = Unattended()

    async def run(self) -> End:
        """Start and watch. A Refusal says why nothing was started."""
        end = await self._once()
        for _ in range(PORT_TRIES - 1):
            if not end.port_taken:
                break
            end = await self._once()
        return end

    async def _once(self) -> End:
        made = await self._preparation.prepared()
        incarnation = self._reserve()
        await make_way(self._home, self._unkillable)
        record = self._preparation.record(made, incarnation)
        self._launched_here = True
        running = await launch(self._home, record, self._timers.spawn, self._spec)
        return await self.watch(running, record)

    async def watch(self, running: Running, record: LaunchRecord) -> End:
        """Look after a launch that this agent or an earlier one made, until it ends."""
        self._attendant = attendant_of(record)
        self._processes = EngineProcesses(self._home, running, self._attendant)
        self._pulse = self._pulse_of(record)
        self._tell(Launched(running, record))
        if record.container is None:
            return await self._to_its_end(running, record)
        async with asyncio.TaskGroup() as group:
            attending = group.create_task(self._attendant.run())
            end = await self._to_its_end(running, record)
            attending.cancel()
        return end

    async def _to_its_end(self, running: Running, record: LaunchRecord) -> End:
        refusal = await self._until_ready(running, record)
        was_ready = refusal is None and not running.engine.ended
        if was_ready:
            with self._devices_attended(record):
                refusal = await self._while_ready(running, record)
        if refusal is not None:
            self._look_at_devices()
            self._tell(GivenUp(refusal))
            await self._equipment.part(self._spec.name, record.port)
            note = await stop(self._home, running, self._timers.stop_grace, self._unkillable)
        else:
            evidence = await self._attendant.evidence()
            note = evidence.added_to(await settle(self._home, running, self._unkillable))
        self._equipment.device_memory.ended(self._label)
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
            if self._attendant.problem is not None:
                return self._attendant.problem
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
            await self._check_listener(record)
            await self._adapter.prove(self._spec, record.port, key, patience)
        except EngineIdentityMismatch as refusal:
            return Problem.of(refusal)
        lines = tail_lines(self._home.logs, READ_BACK_LINES, record.incarnation)
        self._in_use = await self._adapter.in_use(self._spec, record.port, key, patience, lines)
        self._loaded = self._equipment.now().timestamp()
        filled = await self._fill(record)
        if not running.engine.ended:
            self._tell(Ready(self._in_use, filled, partial(self._look, running)))
        return None

    async def _look(self, running: Running) -> Probed | None:
        found = await self._pulse.look()
        return None if running.engine.ended else found

    async def _fill(self, record: LaunchRecord) -> Filled:
        """Its prompt cache, before the first request."""
        limit = self._equipment.limits().prompt_cache_bytes
        self._slots = Slots(self._adapter, self._home, record, limit, self._timers)
        if not self._launched_here:
            return await self._slots.find(self._spec)
        return await self._slots.fill(self._spec, self._in_use.slots or 0, lambda text: self._tell(WarmingUp(text)))

    async def _check_listener(self, record: LaunchRecord) -> None:
        """An engine without a key is known by its socket. EngineIdentityMismatch when it is another's.

        In a container nobody else can listen.
        """
        if Feature.KEY in self._adapter.traits.features or record.container is not None:
            return
        if await asyncio.to_thread(lambda: is_strangers(record.port, self._processes.all())):
            raise identity_mismatch(record.port)

    async def _readiness(self, port: int) -> Readiness:
        return await self._adapter.readiness(self._spec, port, self._home.key(), self._timers.probe_timeout)

    async def _while_ready(self, running: Running, record: LaunchRecord) -> Problem | None:
        """None: it ended."""
        progress, meter = self._progress(record), self._meter(record)
        await meter.learn(self._load_time(record))
        while not await running.engine.wait(self._timers.probe_period):
            found = await self._pulse.probe()
            if running.engine.ended:
                return None
            self._tell(found)
            if self._slots.warms(self._spec, found.gauges):
                self._tell(Warmed())
            if self._equipment.hands_off():
                continue
            if found.misses >= self._timers.probe_misses:
                return verdict.hangs(found.misses, self._attendant.unwell)
            self._look_at_devices()
            await meter.probed(found.gauges)
            stall = await progress.look()
            if stall is not None and stall.final:
                return verdict.stalled(stall, tail_lines(self._home.logs, LOG_LINES, record.incarnation))
            self._tell(Progressed(verdict.slow(stall) if stall is not None else None))
        return None

    def _pulse_of(self, record: LaunchRecord) -> Pulse:
        key, patience = self._home.key, self._timers.probe_timeout
        return Pulse(self._adapter, self._spec, record.port, key, patience, unwell=lambda: bool(self._attendant.unwell))

    def _look_at_devices(self) -> None:
        self._equipment.device_memory.look(self._label, self._processes.owns)

    def _devices_attended(self, record: LaunchRecord) -> AbstractContextManager[None]:
        kind = self._in_use.accelerator
        use = DeviceUse(kind, visible_of(kind, record.env), self._processes.owns)
        return self._equipment.device_troubles.attended(
            self._label, use, lambda trouble: self._tell(DeviceTold(trouble))
        )

    def _load_time(self, record: LaunchRecord) -> timedelta | None:
        """Call it once it is ready. None: an earlier agent launched it."""
        return timedelta(seconds=self._loaded - record.time) if self._launched_here else None

    def _key(self, record: LaunchRecord) -> FootprintKey:
        spec = self._spec
        return FootprintKey(
            spec.model.sha256, record.engine_sha256, options_digest(given(spec.settings)), self._in_use.accelerator
        )

    def _meter(self, record: LaunchRecord) -> FootprintMeter:
        return FootprintMeter(
            self._equipment.footprints,
            self._key(record),
            lambda: memory_of(self._processes.measured()),
            lambda: self._equipment.device_memory.held(self._label),
            lambda footprint: self._tell(Learnt(footprint)),
        )

    def _progress(self, record: LaunchRecord) -> ProgressWatch:
        async def word() -> str | None:
            return await self._adapter.word(self._spec, record.port, self._home.key(), self._timers.probe_timeout)

        return ProgressWatch(
            lambda: self._equipment.traffic(self._spec.name, record.port),
            word,
            lambda: cpu_time(self._processes.all()),
            self._timers,
        )

    def _end(self, record: LaunchRecord, note: ExitNote | None, problem: Problem | None, *, was_ready: bool) -> End:
        lines = tail_lines(self._home.logs, LOG_LINES, record.incarnation)
        if problem is not None:
            return End(problem, note, lines)
        if note is not None and not note.not_started and not note.oom_killed and note.signal not in KILLED:
            finding = self._adapter.classify(lines)
            taken = not was_ready and self._adapter.port_was_taken(lines)
            if finding is not None:
                return End(finding.problem, note, lines, finding.hopeless and not was_ready, taken)
        return End(verdict.ended(note, was_ready=was_ready), note, lines, verdict.is_hopeless(note))
