"""The one task that starts, watches and ends the engine of one instance. Others send it steps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from node_agent.domain.errors import StorageUnavailable
from node_agent.domain.observed import Phase, launch_key
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import Problem
from node_agent.domain.step import (
    Abandon,
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
    Switch,
)
from node_agent.runtimes import checks
from node_agent.runtimes.adoption import adopt
from node_agent.runtimes.attachment import Attachment
from node_agent.runtimes.directory import ForeignFileError, InstanceDirectory
from node_agent.runtimes.ending import make_way, stop
from node_agent.runtimes.equipment import Equipment
from node_agent.runtimes.events import End, Event, Launched, Ready
from node_agent.runtimes.launcher import Running
from node_agent.runtimes.life import Life
from node_agent.runtimes.records import ExitNote
from node_agent.runtimes.room import Room
from node_agent.runtimes.slots import Slots, forget_kept, model_key
from node_agent.runtimes.standing import Standing
from node_agent.runtimes.succession import Succession
from wire.refusal import Refusal

log = structlog.get_logger()

UNKNOWN = "unknown"
"""Launch key of an engine whose launch record is lost."""


class Owner:
    def __init__(
        self,
        name: InstanceName,
        home: InstanceDirectory,
        equipment: Equipment,
        wake: Callable[[], None],
        standing: Standing,
        *,
        wanted: Callable[[], Sequence[InstanceSpec]],
    ) -> None:
        """`wanted`: whatever is to run on this node."""
        self.name = name
        self.standing = standing
        self.gone = False
        self._home = home
        self._equipment = equipment
        self._wake = wake
        self._orders: asyncio.Queue[Sequence[Step]] = asyncio.Queue()
        self._running: Running | None = None
        self._life: asyncio.Task[None] | None = None
        self._room = Room(equipment, standing, wanted)
        self._beside = Succession(equipment, standing, wake)

    def carry_out(self, steps: Sequence[Step]) -> None:
        self.standing.busy = True
        self._orders.put_nowait(steps)

    async def run(self) -> None:
        """Until cancelled, which leaves the engine running, or until the instance is forgotten."""
        try:
            async with asyncio.TaskGroup() as group:
                with self.standing.inquiries.answered(group):
                    while not self.gone:
                        await self._carry_out_all(await self._orders.get(), group)
                        self.standing.busy = False
                        self._wake()
        finally:
            heir = self.standing.successor
            for running in (self._running, heir.running if heir is not None else None):
                if running is not None:
                    running.release()

    async def _carry_out_all(self, steps: Sequence[Step], group: asyncio.TaskGroup) -> None:
        """What the machine refuses (descriptors, memory, disk) is planned again after a while."""
        try:
            for step in steps:
                await self._carry_out(step, group)
        except OSError as error:
            log.warning("instance_step_refused", instance=self.name, error=str(error))
            await asyncio.sleep(self._equipment.timers.recheck.total_seconds())

    async def _carry_out(self, step: Step, group: asyncio.TaskGroup) -> None:  # noqa: C901, PLR0912 - one line a step
        log.info("instance_step", instance=self.name, step=type(step).__name__.lower())
        match step:
            case Adopt():
                await self._adopt(group)
            case Start(spec, cause):
                await self._beside.abandon()
                self._start(spec, cause, group)
            case Restart(spec, cause):
                await self._restart(spec, cause, group)
            case Switch():
                await self._switch()
            case Abandon():
                await self._beside.abandon()
            case Stop():
                await self._stop()
                forget_kept(self.standing.berth)
            case Retry():
                self.standing.await_retry()
            case Fail(_, exhausted):
                self.standing.fail(exhausted=exhausted)
            case ResetBudget():
                self.standing.memory.reset_budget()
            case Acknowledge(_, serial):
                self.standing.memory.acknowledge(serial)
            case Forget():
                await self._forget()
            case Deny(_, problem):
                self.standing.deny(problem)
            case Reclaim(_, problem):
                await self._stop()
                forget_kept(self.standing.berth)
                self.standing.deny(problem)

    async def _adopt(self, group: asyncio.TaskGroup) -> None:
        try:
            found = await adopt(self._home, self.standing.unkillable)
        except ForeignFileError as error:
            log.warning("directory_not_believed", instance=self.name, error=str(error))
            self.standing.phase = Phase.DOWN
            return
        self._equipment.survivors.gone(self.name)
        self.standing.recall()
        if found.running is not None:
            self._take_over(found.running, group)
        else:
            self.standing.take_note(found)
        await self._beside.vacate(None)

    def _take_over(self, running: Running, group: asyncio.TaskGroup) -> None:
        """Without its spec or launch record it cannot be watched: the plan then has it stopped or replaced."""
        log.info("instance_adopted", instance=self.name, pid=running.engine.pid, shim_alive=running.shim is not None)
        record = self.standing.berth.launch()
        self._running, self.standing.phase = running, Phase.UP
        if record is None or record.incarnation != running.record.incarnation:
            self.standing.memory.attempted(UNKNOWN)
        elif self.standing.spec is not None:
            spec = self.standing.good or self.standing.spec
            if spec.adapter not in self._equipment.adapters:
                return
            self.standing.report.unsure = self.standing.memory.ready_time is not None
            life = self._new_life(spec)
            self._life = group.create_task(self._live(lambda: life.watch(running, record)))

    def _new_life(self, spec: InstanceSpec) -> Life:
        standing = self.standing
        return Life(self._equipment, standing.berth, spec, standing.memory.reserve, self._hear, label=standing.label)

    def _start(self, spec: InstanceSpec, cause: Cause, group: asyncio.TaskGroup) -> None:
        if cause is Cause.AUTOMATIC:
            self.standing.memory.spend(spec.restart, self._equipment.now())
        self.standing.memory.attempted(launch_key(spec))
        self.standing.good = spec
        self.standing.report.aside("")
        self.standing.report.starting(quiet=self.standing.phase is Phase.BLOCKED, restart=cause is Cause.AUTOMATIC)
        self.standing.phase = Phase.UP
        self._life = group.create_task(self._live(lambda: self._begin(spec)))

    async def _begin(self, spec: InstanceSpec) -> End:
        if not checks.adapter_of(spec, self._equipment).traits.managed:
            await Attachment(self._equipment, spec, self.standing.hear_of_external).run()
        return await self._new_life(spec).run()

    async def _live(self, life: Callable[[], Awaitable[End]]) -> None:
        try:
            end = await life()
        except Refusal as refusal:
            await self._nothing_launched(Problem.of(refusal))
        except Exception as error:
            log.exception("instance_owner_failed", instance=self.name)
            await self._after_fault(error)
        else:
            await self._ended(end)
        self._wake()

    async def _nothing_launched(self, problem: Problem) -> None:
        if self._beside.is_asked:
            await self._beside.refused(problem)
        else:
            self._running = None
            self.standing.blocked(problem)

    async def _ended(self, end: End) -> None:
        if self._beside.is_asked:
            await self._beside.refused(end.problem)
        elif self._life is asyncio.current_task():
            self._running = None
            self.standing.ended(end)

    async def _after_fault(self, error: Exception) -> None:
        """An error of ours must not leave an engine that nobody watches."""
        text = f"The agent failed while it looked after this instance: {error}."
        problem = Problem("INTERNAL", text, "Please report it with the agent's log.")
        if self._beside.is_asked:
            await self._beside.refused(problem)
        else:
            note = await self._end_process()
            self.standing.ended(End(problem, note))

    def _hear(self, event: Event) -> None:
        if isinstance(event, Launched):
            self._running = event.running
        self.standing.hear(event)
        if isinstance(event, Ready):
            self._wake()

    async def _keep_slots(self, spec: InstanceSpec) -> None:
        """For the next launch, when that is of the same model: nobody is to wait for prompts to be read again."""
        record, health = self.standing.berth.launch(), self.standing.report.status.health
        serves = self._running is not None and self.standing.report.status.state.serves
        if not serves or record is None or not record.cache_key.startswith(model_key(spec)):
            return
        self.standing.report.stopping()
        await self._equipment.part(self.name)
        adapter = checks.adapter_of(spec, self._equipment)
        limit = self._equipment.limits().prompt_cache_bytes
        await Slots(adapter, self.standing.berth, record, limit, self._equipment.timers).keep(
            (health and health.slots) or 0
        )

    async def _restart(self, spec: InstanceSpec, cause: Cause, group: asyncio.TaskGroup) -> None:
        await self._beside.abandon()
        changed, why = launch_key(spec) != self.standing.memory.record.launch_key, ""
        ran = self._running is not None
        if changed:
            why = await self._room.hindrance(spec)
            log.info("instance_is_replaced", instance=self.name, stopped_first=why)
        if changed and not why:
            self._beside.launch(spec, self._live, group)
            return
        await self._keep_slots(spec)
        await self._stop()
        self._start(spec, cause, group)
        self.standing.report.aside(f"stopped before its next launch: {why}" if why and ran else "")

    async def _switch(self) -> None:
        """Requests go to the new engine from here on; the old one ends once it has answered those that it has."""
        heir = self.standing.successor
        if heir is None or heir.launched is None or heir.ready is None:
            return
        before, life, running = self.standing.berth.launch(), self._life, self._running
        try:
            self.standing.succeeded(heir, heir.launched, heir.ready)
        except StorageUnavailable as refusal:
            raise OSError(refusal.text) from refusal
        self._life, self._running = heir.task, heir.running
        heir.pass_on(self._hear)
        log.info("instance_switched", instance=self.name, incarnation=heir.launched.record.incarnation)
        if life is not None:
            life.cancel()
            await asyncio.wait([life])
        port = before.port if before is not None else 0
        if port:
            await self._equipment.finished(self.name, port)
            await self._equipment.part(self.name, port)
        await self._beside.vacate(running)

    async def _stop(self) -> None:
        await self._beside.abandon()
        if self._running is not None:
            self.standing.memory.tells_to_end()
        if self._running is not None or self.standing.is_open:
            self.standing.report.stopping()
            if self.standing.spec is None:
                # It moved elsewhere, or is no more: nothing new reaches it, and nobody waits for its end.
                await self._equipment.finished(self.name)
            await self._answered()
            await self._equipment.part(self.name)
        self.standing.ended_as_told(await self._end_process())

    async def _answered(self) -> None:
        """Of one that only goes to rest no request is cut short, unless somebody wants it stopped or gone meanwhile."""
        while self.standing.spec is not None and self.standing.spec.rests and self._equipment.traffic(self.name):
            await self._equipment.finished(self.name)

    async def _end_process(self) -> ExitNote | None:
        """Nothing of the launch is left when this returns."""
        await self._end_life()
        running, self._running = self._running, None
        self.standing.shut()
        if running is None:
            await make_way(self.standing.berth, self.standing.unkillable)
            return None
        note = await stop(self.standing.berth, running, self._equipment.timers.stop_grace, self.standing.unkillable)
        self._equipment.device_memory.ended(self.standing.label)
        return note

    async def _end_life(self) -> None:
        """Our own cancellation passes on; that of the task that watched does not."""
        life, self._life = self._life, None
        if life is not None and life is not asyncio.current_task() and not life.done():
            life.cancel()
            await asyncio.wait([life])

    async def _forget(self) -> None:
        await self._stop()
        forget_kept(self.standing.berth)
        if self._home.path.exists():
            await asyncio.to_thread(self._home.remove)
        self.gone = True
