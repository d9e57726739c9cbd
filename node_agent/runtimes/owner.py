"""The one task that starts, watches and ends the engine of one instance. Others send it steps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from node_agent.domain.observed import Observed, Phase, launch_key
from node_agent.domain.restart import backoff
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import InstanceStatus, Problem
from node_agent.domain.step import (
    Acknowledge,
    Adopt,
    Cause,
    Deny,
    Fail,
    Forget,
    Reclaim,
    ResetBudget,
    Restart,
    Retry,
    Start,
    Step,
    Stop,
)
from node_agent.runtimes import checks, verdict
from node_agent.runtimes.adoption import Adoption, adopt
from node_agent.runtimes.attachment import Apart, Attached, Attachment
from node_agent.runtimes.directory import ForeignFileError, InstanceDirectory
from node_agent.runtimes.ending import stop
from node_agent.runtimes.equipment import Equipment
from node_agent.runtimes.events import End, Event, GivenUp, Launched, Learnt, Probed, Progressed, Ready, Unkillable
from node_agent.runtimes.launcher import Running
from node_agent.runtimes.life import Life
from node_agent.runtimes.memory import Memory
from node_agent.runtimes.probe import HOST
from node_agent.runtimes.records import ExitNote, LaunchRecord
from node_agent.runtimes.report import Report
from node_agent.use_cases.ports import EngineDoor
from wire.refusal import Refusal

log = structlog.get_logger()

UNKNOWN = "unknown"
"""Launch key of an engine whose launch record is lost."""
NEVER = Problem("INTERNAL", "It did not run yet.")


class Owner:
    def __init__(
        self,
        name: InstanceName,
        home: InstanceDirectory,
        equipment: Equipment,
        wake: Callable[[], None],
        report: Report,
    ) -> None:
        self.name = name
        self.report = report
        self.gone = False
        self._home = home
        self._equipment = equipment
        self._wake = wake
        self._memory = Memory(name, home)
        self._orders: asyncio.Queue[Sequence[Step]] = asyncio.Queue()
        self._spec: InstanceSpec | None = None
        self._phase = Phase.FOUND if home.path.exists() else Phase.DOWN
        self._busy = False
        self._retry_at: datetime | None = None
        self._hopeless = False
        self._running: Running | None = None
        self._life: asyncio.Task[None] | None = None
        self._last = NEVER
        self._denied: Problem | None = None
        self._door: EngineDoor | None = None

    def observed(self) -> Observed:
        record = self._memory.record
        phase = Phase.BUSY if self._busy else self._phase
        key, serial = record.launch_key, record.restore_serial
        denied = self._denied if phase is Phase.DENIED else None
        return Observed(self.name, phase, key, serial, self._memory.budget, self._retry_at, self._hopeless, denied)

    @property
    def looked_at(self) -> bool:
        return self._phase is not Phase.FOUND

    def want(self, spec: InstanceSpec | None) -> None:
        """What the next steps stem from. Holds count from here on."""
        self._spec = spec
        self.report.want(spec, self._memory.budget, self._equipment.now())

    def status(self) -> InstanceStatus:
        """With the budget as of now: it comes back by itself."""
        spec = self._spec
        budget = self._memory.budget.view(spec.restart, self._equipment.now()) if spec is not None else None
        return replace(self.report.status, budget=budget)

    def carry_out(self, steps: Sequence[Step]) -> None:
        self._busy = True
        self._orders.put_nowait(steps)

    def door(self) -> EngineDoor | None:
        if self._spec is None or self._door is None or not self.report.status.state.serves:
            return None
        return replace(self._door, holds=self._spec.holds)

    async def run(self) -> None:
        """Until cancelled, which leaves the engine running, or until the instance is forgotten."""
        try:
            async with asyncio.TaskGroup() as group:
                while not self.gone:
                    await self._carry_out_all(await self._orders.get(), group)
                    self._busy = False
                    self._wake()
        finally:
            if self._running is not None:
                self._running.release()

    async def _carry_out_all(self, steps: Sequence[Step], group: asyncio.TaskGroup) -> None:
        """What the machine refuses (descriptors, memory, disk) is planned again after a while."""
        try:
            for step in steps:
                await self._carry_out(step, group)
        except OSError as error:
            log.warning("instance_step_refused", instance=self.name, error=str(error))
            await asyncio.sleep(self._equipment.timers.recheck.total_seconds())

    async def _carry_out(self, step: Step, group: asyncio.TaskGroup) -> None:  # noqa: C901 - one line a step
        log.info("instance_step", instance=self.name, step=type(step).__name__.lower())
        match step:
            case Adopt():
                await self._adopt(group)
            case Start(spec, cause):
                self._start(spec, cause, group)
            case Restart(spec, cause):
                await self._stop()
                self._start(spec, cause, group)
            case Stop():
                await self._stop()
            case Retry():
                self._await_retry()
            case Fail(_, exhausted):
                self._fail(exhausted=exhausted)
            case ResetBudget():
                self._memory.reset_budget()
            case Acknowledge(_, serial):
                self._memory.acknowledge(serial)
            case Forget():
                await self._forget()
            case Deny(_, problem):
                self._deny(problem)
            case Reclaim(_, problem):
                await self._stop()
                self._deny(problem)

    async def _adopt(self, group: asyncio.TaskGroup) -> None:
        try:
            found = await adopt(self._home)
        except ForeignFileError as error:
            log.warning("directory_not_believed", instance=self.name, error=str(error))
            self._phase = Phase.DOWN
            return
        self._memory.recall()
        if found.running is not None:
            self._take_over(found.running, group)
        else:
            self._take_note(found)

    def _take_over(self, running: Running, group: asyncio.TaskGroup) -> None:
        """Without its spec or launch record it cannot be watched: the plan then has it stopped or replaced."""
        log.info("instance_adopted", instance=self.name, pid=running.engine.pid, shim_alive=running.shim is not None)
        record = self._home.launch()
        self._running, self._phase = running, Phase.UP
        if record is None or record.incarnation != running.record.incarnation:
            self._memory.attempted(UNKNOWN)
        elif self._spec is not None and self._spec.adapter in self._equipment.adapters:
            self.report.unsure = self._memory.ready_time is not None
            life = self._new_life(self._spec)
            self._life = group.create_task(self._live(lambda: life.watch(running, record)))

    def _take_note(self, found: Adoption) -> None:
        """Nothing runs. An end that no agent dealt with yet is decided on like any other, but for a reboot."""
        now = self._equipment.now()
        settled = self._memory.settled or found.rebooted
        if settled and self._memory.record.problem is not None and not found.rebooted:
            self._phase = Phase.FAILED
            self.report.failed(self._memory.record.problem)
        elif settled:
            self._memory.stopped()
            self._phase = Phase.DOWN
        else:
            problem = verdict.ended(found.note, was_ready=self._memory.ready_time is not None)
            self._ended(End(problem, found.note), now)

    def _new_life(self, spec: InstanceSpec) -> Life:
        return Life(self._equipment, self._home, spec, self._memory.reserve, self._hear)

    def _start(self, spec: InstanceSpec, cause: Cause, group: asyncio.TaskGroup) -> None:
        if cause is Cause.AUTOMATIC:
            self._memory.spend(spec.restart, self._equipment.now())
        self._memory.attempted(launch_key(spec))
        self.report.starting(quiet=self._phase is Phase.BLOCKED, restart=cause is Cause.AUTOMATIC)
        self._phase = Phase.UP
        self._life = group.create_task(self._live(lambda: self._begin(spec)))

    async def _begin(self, spec: InstanceSpec) -> End:
        if not checks.adapter_of(spec, self._equipment).traits.managed:
            await Attachment(self._equipment, spec, self._hear_of_external).run()
        return await self._new_life(spec).run()

    async def _live(self, life: Callable[[], Awaitable[End]]) -> None:
        try:
            end = await life()
        except Refusal as refusal:
            self._blocked(Problem.of(refusal))
        except Exception as error:
            log.exception("instance_owner_failed", instance=self.name)
            await self._after_fault(error)
        else:
            self._ended(end, self._equipment.now())
        self._wake()

    async def _after_fault(self, error: Exception) -> None:
        """An error of ours must not leave an engine that nobody watches."""
        note = await self._end_process()
        text = f"The agent failed while it looked after this instance: {error}."
        self._ended(
            End(Problem("INTERNAL", text, "Please report it with the agent's log."), note), self._equipment.now()
        )

    def _hear(self, event: Event) -> None:
        now = self._equipment.now()
        match event:
            case Launched(running, record):
                self._running, self._door = running, self._door_of(record)
                self.report.launched(running, record)
            case Ready(in_use):
                self._memory.ready(now)
                self.report.ready(in_use, self._memory.ready_time)
            case Probed(latency, misses, gauges):
                self.report.probed(latency, misses, gauges)
            case Learnt(footprint):
                self.report.learnt(footprint)
            case Progressed(slow):
                self.report.progresses(slow)
            case GivenUp(problem):
                self.report.given_up(problem)
            case Unkillable():
                self.report.unkillable()

    def _door_of(self, record: LaunchRecord) -> EngineDoor | None:
        """None: it does not speak what the gateway speaks."""
        if self._spec is None or not checks.speaks_openai(self._spec, self._equipment):
            return None
        return EngineDoor(HOST, record.port, self._home.key(), frozenset())

    def _hear_of_external(self, event: Attached | Apart | Probed) -> None:
        match event:
            case Attached(host, port, key, in_use):
                self._door = EngineDoor(host, port, key, frozenset(), in_use.model)
                self._memory.ready(self._equipment.now())
                self.report.attached(host, port, in_use, self._memory.ready_time)
            case Apart(problem):
                self._door = None
                self.report.apart(problem)
            case Probed(latency, misses, gauges):
                self.report.probed(latency, misses, gauges)

    def _blocked(self, problem: Problem) -> None:
        """Nothing was started. What is in the way may go away, so it is looked at again from time to time."""
        now = self._equipment.now()
        self._running, self._door = None, None
        self._phase, self._retry_at = Phase.BLOCKED, now + self._equipment.timers.recheck
        self._memory.stopped()
        self.report.failed(problem)

    def _deny(self, problem: Problem) -> None:
        self._phase, self._retry_at, self._denied = Phase.DENIED, None, problem
        self._memory.stopped()
        self.report.denied(problem)

    def _ended(self, end: End, now: datetime) -> None:
        self._running, self._door = None, None
        self._phase, self._hopeless = Phase.EXITED, end.hopeless
        self._last = end.problem
        self.report.ended(end.problem, verdict.exit_record(end.note, end.log_tail, now))
        log.warning("engine_ended", instance=self.name, reason=end.problem.reason, text=end.problem.text)

    def _await_retry(self) -> None:
        now = self._equipment.now()
        ready_time = self._memory.ready_time
        ready_for = now - ready_time if ready_time else timedelta()
        wait = backoff(self._memory.record.failures, ready_for, self._equipment.timers, self._equipment.chance())
        self._memory.waits(wait.failures)
        self._phase, self._retry_at = Phase.WAITING, now + wait.delay
        self.report.waiting(wait.delay)

    def _fail(self, *, exhausted: bool) -> None:
        problem = self._last
        if exhausted and self._spec is not None:
            problem = verdict.exhausted(self._spec, self._memory.budget, self._last, self._equipment.now())
        self._phase = Phase.FAILED
        self._memory.failed(problem)
        self.report.failed(problem)

    async def _stop(self) -> None:
        if self._running is not None or self._door is not None:
            self.report.stopping()
            await self._equipment.part(self.name)
        note = await self._end_process()
        self._memory.stopped()
        self._phase, self._retry_at = Phase.DOWN, None
        self.report.stopped(verdict.exit_record(note, (), self._equipment.now()) if note else None)

    async def _end_process(self) -> ExitNote | None:
        """Nothing of the launch is left when this returns."""
        await self._end_life()
        running, self._running, self._door = self._running, None, None
        if running is None:
            return None
        note = await stop(self._home, running, self._equipment.timers.stop_grace, self.report.unkillable)
        self._equipment.device_memory.ended(self.name)
        return note

    async def _end_life(self) -> None:
        """Our own cancellation passes on; that of the task that watched does not."""
        life, self._life = self._life, None
        if life is not None and life is not asyncio.current_task() and not life.done():
            life.cancel()
            await asyncio.wait([life])

    async def _forget(self) -> None:
        await self._stop()
        if self._home.path.exists():
            await asyncio.to_thread(self._home.remove)
        self.gone = True
