"""What the next step of a job is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from control_plane.domain.jobs.job import Job, JobKind
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import DesiredState
from control_plane.domain.view import RuntimeView


@dataclass(frozen=True, slots=True)
class Facts:
    view: RuntimeView | None
    """None: there is no such runtime any more."""
    now: datetime
    contact: datetime | None = None
    """When the runtime's node was last heard."""
    online: bool = False
    """Whether that node is there."""
    objection: Problem | None = None
    """Of a swap that has not begun: why its place would not do for it."""
    busy: bool = False
    """An earlier job works on the same runtime, and this one may not do so beside it."""
    asked: bool = False
    """Of a health probe: the node was told to look, and may yet answer."""
    replicas: tuple[RuntimeView, ...] = ()
    """Those of the runtime, which follow it."""
    amnesty: bool = False
    """Nodes may not have come back yet, so that no time limit is over."""


def whole(job: Job, facts: Facts, view: RuntimeView) -> Sequence[tuple[Job, RuntimeView]]:
    """Whom the job waits for, each with the job as it is for that one; a replica without a place is not waited for."""
    seen = {each.runtime: each for each in job.replicas_seen}
    replicas = (each for each in facts.replicas if _counts(job, each))
    return [(job, view), *((replace(job, seen=seen.get(each.runtime.id)), each) for each in replicas)]


def _counts(job: Job, replica: RuntimeView) -> bool:
    wanted = replica.runtime.desired_state is DesiredState.RUNNING
    return replica.instance is not None and (wanted or job.order.kind is JobKind.SHUTDOWN)
