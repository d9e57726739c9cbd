"""What this node has to say of its instances: one slot each, the latest wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from node_agent.control_link.messages import ObservedReport
from node_agent.domain.spec import InstanceName
from node_agent.domain.status import InstanceStatus


def lasting(status: InstanceStatus) -> InstanceStatus:
    """A status without the figures that move by themselves: those alone are no news."""
    health = replace(status.health, probe_latency=None) if status.health else None
    budget = replace(status.budget, reset_in=None) if status.budget else None
    return replace(status, health=health, budget=budget)


@dataclass(slots=True)
class ObservedOutbox:
    """Bounded by the number of instances, however long nobody listens. Outlives streams."""

    seq: int = 0
    """Of the newest report taken; grows by 1 for each, for the life of this process."""
    released: bool = False
    """False until what an earlier agent left was looked at: a report before that would tell less than there is."""
    _latest: dict[InstanceName, InstanceStatus] = field(default_factory=dict)
    _news: set[InstanceName] = field(default_factory=set)
    _gone: set[InstanceName] = field(default_factory=set)
    _full: bool = True

    @property
    def waiting(self) -> bool:
        return self._full or bool(self._news) or bool(self._gone)

    @property
    def statuses(self) -> Sequence[InstanceStatus]:
        return tuple(self._latest.values())

    def changed(self, status: InstanceStatus) -> bool:
        """Keep a status; True when it is worth a report."""
        before = self._latest.get(status.name)
        self._latest[status.name] = status
        if before is not None and lasting(before) == lasting(status):
            return False
        self._news.add(status.name)
        self._gone.discard(status.name)
        return True

    def gone(self, name: InstanceName) -> bool:
        self._news.discard(name)
        if self._latest.pop(name, None) is None:
            return False
        self._gone.add(name)
        return True

    def know(self, statuses: Sequence[InstanceStatus]) -> None:
        """These are all that there are; for the start of a stream, whose first report is full."""
        self._latest = {status.name: status for status in statuses}
        self._full = True

    def release(self, statuses: Sequence[InstanceStatus]) -> None:
        self.know(statuses)
        self.released = True

    def ask_full(self) -> None:
        self._full = True

    def take(self) -> ObservedReport | None:
        """The report that brings the other side up to date; None when it is."""
        if not self.waiting:
            return None
        names = sorted(self._latest if self._full else self._news)
        gone = () if self._full else tuple(sorted(self._gone))
        self.seq += 1
        report = ObservedReport(self.seq, self._full, tuple(self._latest[name] for name in names), gone)
        self._news.clear()
        self._gone.clear()
        self._full = False
        return report
