from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from control_plane.domain.ids import JobId, NodeId, RuntimeId
from control_plane.domain.jobs.job import Job, JobKind, JobState
from control_plane.domain.runtime import Runtime
from control_plane.use_cases.ports import Clock, Fleet

ANSWER_WITHIN = timedelta(seconds=15)
"""An agent gives an engine 5 s to answer, and 5 s more to say what it has in hand."""


class Prober(Protocol):
    """Reaches the engines of connected nodes."""

    def probe(self, node: NodeId, runtime: RuntimeId, request: str) -> bool:
        """Have the node ask the engine now, and name the request in what it reports. False: it cannot be asked.

        True is no promise.
        """


@dataclass(frozen=True, slots=True)
class _Asked:
    node: NodeId
    epoch: int
    at: datetime
    may_answer: bool


@dataclass(slots=True)
class AskProbes:
    """Has nodes ask their engines for the jobs that want to know: once each, and again in each new session."""

    prober: Prober
    fleet: Fleet
    clock: Clock
    _asked: dict[JobId, _Asked] = field(default_factory=dict)

    def __call__(self, job: Job, runtime: Runtime | None) -> bool:
        """Whether the node was told to look, and may yet answer."""
        if job.order.kind is not JobKind.HEALTH_PROBE or job.state is not JobState.RUNNING:
            return False
        if runtime is None or runtime.node is None:
            return False
        asked = self._asked_in_this_session(job, runtime.node)
        return asked is not None and asked.may_answer and self.clock.now() - asked.at < ANSWER_WITHIN

    def forget_all_but(self, jobs: Collection[JobId]) -> None:
        for job in self._asked.keys() - jobs:
            del self._asked[job]

    def _asked_in_this_session(self, job: Job, node: NodeId) -> _Asked | None:
        liveness = self.fleet.liveness(node)
        if not liveness.online:
            return None
        asked = self._asked.get(job.id)
        if asked is None or (asked.node, asked.epoch) != (node, liveness.session_epoch):
            told = self.prober.probe(node, job.order.runtime, job.id)
            asked = self._asked[job.id] = _Asked(node, liveness.session_epoch, self.clock.now(), told)
        return asked
