from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.instance import Instance
from control_plane.domain.supervisor_log import entries
from control_plane.domain.transition import Transition, with_history
from control_plane.domain.view import with_severity
from control_plane.use_cases import announcements
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction
from control_plane.use_cases.rows import fenced
from control_plane.use_cases.supervisor_events import supervisor_log


@dataclass(frozen=True, slots=True)
class Observation:
    """An ObservedReport."""

    node: NodeId
    epoch: int
    """Of the session that brought it."""
    instances: tuple[Instance, ...]
    gone: tuple[RuntimeId, ...] = ()
    full: bool = False
    """`instances` is everything that the node has."""


@dataclass(frozen=True, slots=True)
class ObserveInstances:
    """Keep what a node reports, and journal what really changed. Without a real change nothing is written.

    SessionSuperseded when a newer session of the node was opened.

    What is known in memory is current even when StorageUnavailable is raised; then only the journal lacks it.
    """

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(self, seen: Observation) -> None:
        gone = tuple(self._forgotten(seen))
        found = [t for t in self._recorded(seen) if t.is_real]
        if found or gone:
            now = self.clock.now()
            await self.store.write(lambda tx: _told(tx, seen, found, gone, now))

    def _recorded(self, seen: Observation) -> Iterator[Transition]:
        for reported in seen.instances:
            known = self.fleet.instance(reported.node, reported.runtime)
            instance = with_history(known, with_severity(reported))
            yield Transition(self.fleet.record(instance), instance, resync=seen.full)

    def _forgotten(self, seen: Observation) -> Iterator[Instance]:
        present = {instance.runtime for instance in seen.instances}
        for known in self.fleet.instances(seen.node):
            if known.runtime in seen.gone or (seen.full and known.runtime not in present):
                self.fleet.forget(known.node, known.runtime)
                yield known


def _told(
    tx: Transaction, seen: Observation, found: Iterable[Transition], gone: Sequence[Instance], now: datetime
) -> None:
    fenced(tx, seen.node, seen.epoch)
    for transition in found:
        _tell(tx, transition, now)
    for instance in gone:
        removed = announcements.of_runtime("runtime.removed", instance.runtime, now, node=instance.node)
        tx.journal.append(removed)


def _tell(tx: Transaction, transition: Transition, now: datetime) -> None:
    instance = transition.after
    for entry in entries(transition):
        tx.journal.append(supervisor_log(entry, now))
    tx.journal.append(announcements.state_changed(instance, now))
    if transition.is_launch_end:
        tx.journal.append(announcements.restore_completed(instance, now, transition.launch_error))
    if transition.is_degradation:
        tx.journal.append(announcements.degraded(instance, now))
    runtime = tx.runtimes.get(instance.runtime)
    wanted = transition.previous_accelerator or (runtime.spec.accelerator if runtime else None)
    if wanted and transition.switches_from(wanted):
        tx.journal.append(announcements.accelerator_switched(instance, wanted, now))
