"""Makes desired state so: adopts what runs, plans, and hands each instance's steps to its owner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path

import structlog

from node_agent.domain.cut import bounds, next_stop, outlived
from node_agent.domain.disk_room import kept_out
from node_agent.domain.errors import EngineNotFound, EngineNotTrusted
from node_agent.domain.limits import Denial, forbids
from node_agent.domain.observed import Observed, Phase
from node_agent.domain.plan import plan
from node_agent.domain.spec import DesiredState, Hold, InstanceName, InstanceSpec
from node_agent.domain.status import InstanceStatus, Problem
from node_agent.domain.step import Adopt, Step
from node_agent.runtimes import checks
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.equipment import Equipment
from node_agent.runtimes.held import held_back, left_alone
from node_agent.runtimes.owner import Owner
from node_agent.runtimes.reclaim import Notices, noticed
from node_agent.runtimes.report import Report
from node_agent.runtimes.standing import Standing
from node_agent.use_cases.ports import Carrier, EngineDoor, StopHook
from wire.refusal import Refusal

log = structlog.get_logger()

ENGINE_MISSING = frozenset({EngineNotFound.reason, EngineNotTrusted.reason})


class LocalSupervisor:
    """The Supervisor of this machine. Nothing is decided before the first `desire`."""

    def __init__(self, instances: Path, equipment: Equipment) -> None:
        self._instances = instances
        self._equipment = equipment
        self._desired: dict[InstanceName, InstanceSpec] | None = None
        self._held: frozenset[InstanceName] = frozenset()
        self._told_held: frozenset[InstanceName] = frozenset()
        self._notices = Notices()
        self._owners: dict[InstanceName, Owner] = {}
        self._adopted = asyncio.Event()
        self._changed = asyncio.Event()
        self._on_status: list[Callable[[InstanceStatus], None]] = []
        self._on_gone: list[Callable[[InstanceName], None]] = []
        self._on_handover: list[Callable[[InstanceName, Collection[Hold]], None]] = []

    async def run(self) -> None:
        self._instances.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wait()
                if self._desired is not None:
                    self._reconcile(self._desired, group)

    async def _wait(self) -> None:
        """Until something changed, a wait is over, or the safety tick."""
        try:
            async with asyncio.timeout(self._patience().total_seconds()):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    def _patience(self) -> timedelta:
        now = self._equipment.now()
        waiting = (Phase.WAITING, Phase.BLOCKED)
        observed = [owner.standing.observed() for owner in self._owners.values()]
        due = [one.retry_at - now for one in observed if one.retry_at is not None and one.phase in waiting]
        stops = [denial.stop_at - now for denial in self._notices.current.values() if denial.stop_at is not None]
        ahead = [wait for wait in stops if wait > timedelta()]
        cut = next_stop((self._desired or {}).values(), self._equipment.silence())
        ahead += [] if cut is None else [cut]
        return max(timedelta(), min([self._equipment.timers.tick, *due, *ahead]))

    def _reconcile(self, desired: dict[InstanceName, InstanceSpec], group: asyncio.TaskGroup) -> None:
        self._bury()
        self._appoint(desired, group)
        spared = self._spared
        observed = [owner.standing.observed() for name, owner in self._owners.items() if name not in spared]
        for name, owner in self._owners.items():
            owner.standing.want(desired.get(name))
        self._tell_held()
        now = self._equipment.now()
        denied = self._denied(list(desired.values()), observed, now)
        for name, steps in _by_name(self._allowed(plan(list(desired.values()), observed, now, denied))):
            self._owners[name].carry_out(steps)
        self._look_at_adoption()

    def _allowed(self, steps: Iterable[Step]) -> list[Step]:
        return [step for step in steps if isinstance(step, Adopt) or not self._equipment.hands_off()]

    def look_again(self) -> None:
        """Something that keeps steps back may be over."""
        self._changed.set()

    def engines_changed(self) -> None:
        """What waits for a trusted engine need wait no longer."""
        for owner in self._owners.values():
            owner.standing.try_again_after(ENGINE_MISSING)
        self._changed.set()

    def _denied(
        self, desired: Sequence[InstanceSpec], observed: Sequence[Observed], now: datetime
    ) -> Mapping[InstanceName, Denial]:
        """What may not start: by the owner's word, and whoever is given notice says so at once; or for want of room.

        Or it outlived its claim's patience with a cut from the control plane.
        """
        up = {one.name for one in observed if one.phase in (Phase.UP, Phase.BUSY, Phase.FOUND)}
        before = self._notices.current
        denied = self._notices.of(self._equipment.limits(), desired, up, now)
        for name in self._owners.keys() & (before.keys() | denied.keys()):
            if before.get(name) != denied.get(name):
                self._tell(self._owners[name].standing.status())
        cut = outlived(desired, self._equipment.silence(), now)
        return {**kept_out(self._equipment.closed(), desired, observed), **denied, **cut}

    def _appoint(self, desired: dict[InstanceName, InstanceSpec], group: asyncio.TaskGroup) -> None:
        """An owner for each instance that is wanted or has a directory."""
        for name in (desired.keys() | self._left_behind()) - self._owners.keys():
            home = InstanceDirectory.of(self._instances, name)
            standing = Standing(name, home, self._equipment, Report(name, self._tell))
            owner = Owner(name, home, self._equipment, self._changed.set, standing, wanted=self._wanted)
            self._owners[name] = owner
            group.create_task(owner.run())

    def _wanted(self) -> Sequence[InstanceSpec]:
        """Whatever is to run here."""
        return [spec for spec in (self._desired or {}).values() if spec.desired_state is DesiredState.RUNNING]

    def _left_behind(self) -> set[InstanceName]:
        """Names in directories that have no owner yet; those that have are not read again."""
        known = {name.rpartition("/")[2] for name in self._owners}
        there = self._instances.iterdir() if self._instances.is_dir() else ()
        homes = [InstanceDirectory(path) for path in there if path.name not in known]
        return {InstanceName(home.state().name) for home in homes if home.is_named()}

    def _bury(self) -> None:
        for name in [name for name, owner in self._owners.items() if owner.gone]:
            del self._owners[name]
            for listener in self._on_gone:
                listener(name)

    def _look_at_adoption(self) -> None:
        looked_at = (owner.standing.looked_at and not owner.standing.report.unsure for owner in self._owners.values())
        if all(done or name in self._spared for name, done in zip(self._owners, looked_at, strict=True)):
            self._adopted.set()

    @property
    def _spared(self) -> frozenset[InstanceName]:
        """Held, and left as they are: nobody knows their specs."""
        return self._held - (self._desired or {}).keys()

    def _tell_held(self) -> None:
        """Nobody watches what is spared, so its end is seen here; and what is held no more says so once."""
        told, self._told_held = self._told_held | self._held, self._held
        for name in self._owners.keys() & told:
            self._tell(self._owners[name].standing.status())

    def _tell(self, status: InstanceStatus) -> None:
        self._look_at_adoption()
        for listener in self._on_status:
            listener(self._shown(status))

    def _shown(self, status: InstanceStatus) -> InstanceStatus:
        status = noticed(status, self._notices.current.get(status.name))
        if status.name not in self._held:
            return status
        if status.name in self._spared:
            status = left_alone(status, InstanceDirectory.of(self._instances, status.name))
        return held_back(status)

    def desire(self, specs: Sequence[InstanceSpec], held: Collection[InstanceName] = ()) -> None:
        before = self._desired or {}
        self._desired, self._held = {spec.name: spec for spec in specs}, frozenset(held)
        for spec in specs:
            if spec.name in before and before[spec.name].holds - spec.holds:
                for listener in self._on_handover:
                    listener(spec.name, spec.holds)
        self._changed.set()

    def minds_cuts(self) -> bool:
        """Whether anything is to be stopped when the control plane is out of reach for too long."""
        return any(True for _ in bounds((self._desired or {}).values()))

    async def adopted(self) -> None:
        await self._adopted.wait()

    def left_running(self) -> Collection[InstanceName]:
        unseen = {name for name, owner in self._owners.items() if not owner.standing.looked_at} | self._left_behind()
        return {name for name in unseen if self._runs(InstanceDirectory.of(self._instances, name))}

    @staticmethod
    def _runs(home: InstanceDirectory) -> bool:
        return not all(berth.lock_is_free() for berth in home.berths())

    async def admit(self, spec: InstanceSpec) -> Problem | None:
        """An order to stop is always taken: what its start would need may be long gone."""
        if spec.desired_state is DesiredState.STOPPED:
            return None
        denied = forbids(self._equipment.limits(), spec)
        if denied is not None:
            return denied
        try:
            await asyncio.to_thread(checks.quick, spec, self._equipment)
        except Refusal as refusal:
            return Problem.of(refusal)
        return None

    def probe(self, instance: InstanceName, request: str) -> None:
        owner = self._owners.get(instance)
        if owner is not None:
            owner.standing.inquiries.ask(request)

    def statuses(self) -> Sequence[InstanceStatus]:
        return [self._shown(owner.standing.status()) for owner in self._owners.values()]

    def door(self, instance: InstanceName) -> EngineDoor | None:
        """Its holds are those of the newest word: whoever acknowledged it has let the others go."""
        owner, wanted = self._owners.get(instance), (self._desired or {}).get(instance)
        door = owner.standing.door() if owner is not None else None
        return None if door is None else replace(door, holds=wanted.holds if wanted is not None else frozenset())

    def on_status(self, listener: Callable[[InstanceStatus], None]) -> None:
        self._on_status.append(listener)

    def on_gone(self, listener: Callable[[InstanceName], None]) -> None:
        self._on_gone.append(listener)

    def on_handover(self, listener: Callable[[InstanceName, Collection[Hold]], None]) -> None:
        """Called at once when holds of an instance are over, with those that are left."""
        self._on_handover.append(listener)

    def before_stop(self, hook: StopHook) -> None:
        self._equipment.before_stop.append(hook)

    def ask_for_traffic(self, carrier: Carrier) -> None:
        self._equipment.carriers.append(carrier)


def _by_name(steps: Iterable[Step]) -> list[tuple[InstanceName, list[Step]]]:
    return [(name, list(some)) for name, some in groupby(steps, key=lambda step: step.name)]
