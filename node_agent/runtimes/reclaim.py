"""Notice before the node's owner takes the machine back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from node_agent.domain.limits import Denial, Limits, denials, may_stop
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import InstanceStatus

log = structlog.get_logger()


class Notices:
    """Remembers when each instance was first told that it may not run. An agent that starts gives notice anew."""

    def __init__(self) -> None:
        self.current: Mapping[InstanceName, Denial] = {}

    def of(
        self, limits: Limits, desired: Sequence[InstanceSpec], up: Collection[InstanceName], now: datetime
    ) -> Mapping[InstanceName, Denial]:
        """Whom the owner denies, and when what runs of them ends."""
        found = denials(limits, desired, up, now)
        self.current = {
            name: Denial(problem, self._stop_at(limits, name, now) if may_stop(limits, problem) else None)
            for name, problem in found.items()
        }
        return self.current

    def _stop_at(self, limits: Limits, name: InstanceName, now: datetime) -> datetime:
        given = self.current.get(name)
        if given is not None and given.stop_at is not None:
            return min(given.stop_at, now + limits.grace)
        log.info("instance_denied", instance=name, grace_seconds=limits.grace.total_seconds())
        return now + limits.grace


def noticed(status: InstanceStatus, denial: Denial | None) -> InstanceStatus:
    """With the notice, while it serves; whoever uses it may move on in time."""
    if denial is None or denial.stop_at is None or not status.state.serves:
        return status
    text = f"Stops at {denial.stop_at:%Y-%m-%dT%H:%M:%SZ}: {denial.problem.text}"
    return replace(status, summary=text, problem=denial.problem, detail=(text, *status.detail))
