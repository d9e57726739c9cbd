from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from control_plane.domain.ids import NodeId
from control_plane.domain.instance import Instance, InstanceState
from control_plane.domain.node import Liveness
from control_plane.domain.node_view import NodeView
from control_plane.domain.view import with_severity
from control_plane.use_cases import announcements
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction


@dataclass(frozen=True, slots=True)
class LivenessChange:
    node: NodeId
    epoch: int
    """Of the session that came or went."""
    online: bool
    time: datetime
    """Of the last contact."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Seen:
    change: LivenessChange
    liveness: Liveness
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class ReportLiveness:
    """Journal nodes that came or went, as one change; the fleet knows of it already.

    What a session says of a node that has opened a newer one is left out: the newer one speaks for it.

    Call it with all changes of a second, never for a heartbeat.
    """

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(self, changes: Sequence[LivenessChange]) -> None:
        seen = [self._seen(change) for change in changes]
        now = self.clock.now()
        if seen:
            await self.store.write(lambda tx: _told(tx, seen, now))

    def _seen(self, change: LivenessChange) -> _Seen:
        instances = (with_severity(instance) for instance in self.fleet.instances(change.node))
        return _Seen(change, self.fleet.liveness(change.node), tuple(instances))


def _told(tx: Transaction, seen: Iterable[_Seen], now: datetime) -> None:
    for one in seen:
        node = tx.nodes.get(one.change.node)
        if node is None or node.session_epoch != one.change.epoch:
            continue
        node = replace(node, last_contact_time=one.change.time)
        tx.nodes.put(node)
        view = NodeView(node, replace(one.liveness, online=one.change.online))
        tx.journal.append(announcements.node_changed(view, now, cause=one.change.why))
        for instance in one.instances:
            if (instance.state is InstanceState.UNKNOWN) is not one.change.online:
                tx.journal.append(announcements.state_changed(instance, now))
