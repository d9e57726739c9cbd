from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from control_plane.domain.ids import NodeId, RuntimeId, resource_name
from control_plane.domain.node import Node
from control_plane.domain.placing.house import Assignment
from control_plane.domain.placing.making_room import Objects, Refused, Verdict, Waits, Wakes, judged
from control_plane.domain.placing.residents import Resident, hibernated, not_woken, unloads_at, waits_for, woken
from control_plane.domain.placing.rooms import Rooms
from control_plane.domain.problem import Problem
from control_plane.domain.residence import SleepCause
from control_plane.domain.runtime import DesiredState, Runtime
from control_plane.use_cases import residence_events
from control_plane.use_cases.circumstances import Circumstances
from control_plane.use_cases.find_room import FindRoom
from control_plane.use_cases.mirror import Changed, Mirror
from control_plane.use_cases.place_runtimes import moved
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import runtime_of, save_runtime
from control_plane.use_cases.views import node_view

PATIENCE = timedelta(minutes=10)
"""How long one that was asked for waits for room."""


class SettleResidents:
    """Wake what was asked for, making room for it where needed, and hibernate what nobody asks for.

    For one loop of one control plane: call it after each change of intent and of an instance, and every second, for
    times pass by themselves. Who was asked for first has its turn first; of a node's, one at a time waits for room.
    What has no room on its own node in sight wakes on another one that has. Returns how many runtimes changed.
    """

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        fleet: Fleet,
        clock: Clock,
        *,
        stay: timedelta,
        circumstances: Circumstances | None = None,
    ) -> None:
        """`stay`: what was just loaded leaves for nobody before it is over. `circumstances`: None: its own."""
        self._room = FindRoom(mirror, fleet, clock, circumstances or Circumstances(fleet, clock))
        self._store = store
        self._mirror = mirror
        self._fleet = fleet
        self._clock = clock
        self._stay = stay
        self._asked: set[RuntimeId] = set()
        self._unloading: set[RuntimeId] = set()
        """May be hibernated for want of requests."""
        mirror.on_change(self._heard)

    async def __call__(self) -> int:
        await self._mirror.look()
        changed, busy = await self._unloaded(), set[NodeId]()
        for runtime in self._in_turn():
            changed += await self._went_on(runtime, busy)
        return changed

    @property
    def concerned(self) -> bool:
        """Whether what an instance does may matter, as far as it is known."""
        return bool(self._asked or self._unloading)

    def _heard(self, changed: Changed) -> None:
        for runtime in changed.runtimes:
            row = self._mirror.runtimes.get(runtime)
            asked = row is not None and row.sleep is not None and row.sleep.wake is not None
            wanted = row is not None and row.desired_state is DesiredState.RUNNING
            unloads = wanted and row is not None and row.spec.residence.idle_unload is not None
            _keep(self._asked, runtime, there=asked)
            _keep(self._unloading, runtime, there=unloads)

    def _in_turn(self) -> list[RuntimeId]:
        return sorted(self._asked, key=lambda runtime: (_asked_at(self._mirror.runtimes[runtime]), runtime))

    async def _went_on(self, runtime: RuntimeId, busy: set[NodeId]) -> int:
        """`busy`: nodes where another waits for room already."""
        row = self._mirror.runtimes.get(runtime)
        if row is None or row.sleep is None or row.sleep.wake is None or row.node in busy:
            return 0
        verdict = self._verdict(row)
        to = await self._elsewhere(row, verdict)
        if isinstance(verdict, Waits) and row.node is not None and to is None:
            busy.add(row.node)
        now, leaving = self._clock.now(), self._leaving(verdict)
        changed = await self._store.write(
            lambda tx: _carried_out(tx, row, verdict, leaving, now) if to is None else _moves(tx, row, to, now)
        )
        if changed:
            await self._mirror.look()
        return changed

    async def _elsewhere(self, row: Runtime, verdict: Verdict) -> Assignment | None:
        """Where it has room at once, when nobody can say when it has at home. A silent node keeps what it has."""
        hopeless = isinstance(verdict, Refused) or (isinstance(verdict, Waits) and not verdict.soon)
        online = row.node is not None and self._fleet.liveness(row.node).online
        return await self._room(row) if hopeless and online and not self._resident(row).leaves else None

    def _leaving(self, verdict: Verdict) -> Sequence[Runtime]:
        return [self._mirror.runtimes[name] for name in verdict.leaving] if isinstance(verdict, Waits) else ()

    def _verdict(self, row: Runtime) -> Verdict:
        now, node = self._clock.now(), self._mirror.nodes.get(row.node) if row.node else None
        found = self._nowhere(row) if node is None else self._there(row, node, now)
        if isinstance(found, Waits) and now - _asked_at(row) >= PATIENCE:
            return Refused(found.problem)
        return found

    def _nowhere(self, row: Runtime) -> Verdict:
        """Without a place; it gets one first."""
        if row.placement_problem is not None:
            return Refused(row.placement_problem)
        return Waits(Problem("NOT_READY", f"{row.id} waits for a place.", "Try again."))

    def _there(self, row: Runtime, node: Node, now: datetime) -> Verdict:
        if not self._fleet.liveness(node.id).online:
            return self._unreached(row, node)
        there = [self._resident(each) for each in self._mirror.placed(node.id) if each.id != row.id]
        itself = self._resident(row)
        if itself.leaves:
            return Waits(Problem("NOT_READY", f"{row.id} is just leaving memory.", "Try again."))
        return judged(self._objects(row, node), there, now, self._stay)

    def _unreached(self, row: Runtime, node: Node) -> Verdict:
        name, since = resource_name("nodes", node.id), self._fleet.liveness(node.id).offline_since
        problem = Problem(
            "NODE_OFFLINE", f"Node {node.id} is offline, so {row.id} cannot wake.", "Start its agent.", {"node": name}
        )
        return Waits(problem) if since is None else Refused(problem)

    def _objects(self, row: Runtime, node: Node) -> Objects:
        sleeper, view, models = woken(row), node_view(node, self._fleet), self._mirror.models

        def objects(others: Iterable[Runtime]) -> Problem | None:
            running = [replace(each, desired_state=DesiredState.RUNNING) for each in others]
            return next(Rooms(models, lambda _: running).objections(sleeper, view), None)

        return objects

    def _resident(self, row: Runtime) -> Resident:
        return Resident(row, self._fleet.instance(row.node, row.id) if row.node is not None else None)

    async def _unloaded(self) -> int:
        now = self._clock.now()
        rows = (self._mirror.runtimes[runtime] for runtime in sorted(self._unloading))
        over = [row for row in rows if (at := unloads_at(self._resident(row))) is not None and at <= now]
        if not over:
            return 0
        changed = await self._store.write(lambda tx: sum(_leaves(tx, row, SleepCause.IDLE, now) for row in over))
        await self._mirror.look()
        return changed


def _keep(names: set[RuntimeId], runtime: RuntimeId, *, there: bool) -> None:
    if there:
        names.add(runtime)
    else:
        names.discard(runtime)


def _asked_at(row: Runtime) -> datetime:
    assert row.sleep is not None  # noqa: S101 - only such are looked at
    assert row.sleep.wake is not None  # noqa: S101 - as above
    return row.sleep.wake


def _carried_out(tx: Transaction, seen: Runtime, verdict: Verdict, leaving: Iterable[Runtime], now: datetime) -> int:
    """How many runtimes changed; none that did since they were looked at."""
    row = tx.runtimes.get(seen.id)
    if row is None or row.revision != seen.revision:
        return 0
    match verdict:
        case Wakes():
            tx.journal.append(residence_events.wake_completed(save_runtime(tx, woken(row), now), now))
            return 1
        case Refused(problem):
            saved = save_runtime(tx, not_woken(row, problem, now), now)
            tx.journal.append(residence_events.wake_completed(saved, now, problem))
            return 1
        case Waits(problem):
            left = sum(_leaves(tx, each, SleepCause.ROOM, now, problem) for each in leaving)
            return left + _waits(tx, row, problem, now)


def _moves(tx: Transaction, seen: Runtime, to: Assignment, now: datetime) -> int:
    """It wakes on another node."""
    if not moved(tx, seen, to, now):
        return 0
    tx.journal.append(residence_events.wake_completed(save_runtime(tx, woken(runtime_of(tx, seen.id)), now), now))
    return 1


def _waits(tx: Transaction, row: Runtime, problem: Problem, now: datetime) -> int:
    """Told when its reason is another one; amounts change with every neighbour."""
    before = row.sleep.problem if row.sleep is not None else None
    if before is not None and before.reason == problem.reason:
        return 0
    save_runtime(tx, waits_for(row, problem), now)
    return 1


def _leaves(tx: Transaction, seen: Runtime, cause: SleepCause, now: datetime, problem: Problem | None = None) -> bool:
    """False when it changed since it was looked at."""
    row = tx.runtimes.get(seen.id)
    if row is None or row.revision != seen.revision:
        return False
    saved = save_runtime(tx, hibernated(row, cause, now), now)
    tx.journal.append(residence_events.hibernated(saved, now, problem))
    return True
