"""What follows the end of a stream: what is shown, which replica comes next, how long to wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import grpc
import structlog

from node_agent.control_link.actions import GiveUp, Leave
from node_agent.control_link.backoff import Backoff
from node_agent.control_link.diagnosis import Diagnosis, diagnose
from node_agent.control_link.display import Display
from node_agent.control_link.ports import Credentials
from node_agent.control_link.servers import Servers
from node_agent.control_link.stream import Broken, Ending
from node_agent.domain.offer import Offer
from node_agent.domain.status import Problem
from wire.error_status import refusal_of

_FOR_A_PERSON = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})
_REASONS_FOR_A_PERSON = frozenset({"NODE_QUARANTINED", "NODE_MISMATCH", "PROTOCOL_UNSUPPORTED"})

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Waits:
    refused_retry: timedelta
    diagnose_every: timedelta


class Endings:
    """`enrollment` is the address that tells what is wrong with a credential."""

    def __init__(
        self,
        credentials: Credentials,
        display: Display,
        servers: Servers,
        backoff: Backoff,
        *,
        enrollment: str,
        waits: Waits,
        now: Callable[[], float],
    ) -> None:
        self._credentials = credentials
        self._display = display
        self._servers = servers
        self._backoff = backoff
        self._enrollment = enrollment
        self._waits = waits
        self._now = now
        self._next_diagnosis = 0.0

    async def after(self, ending: Ending, offer: Offer) -> timedelta:
        """Show why the stream ended, and say how long to wait."""
        match ending:
            case Leave():
                return self._left(ending)
            case GiveUp():
                return self._refused(ending.problem, offer)
            case Broken():
                return await self._broken(ending, offer)

    def _left(self, ending: Leave) -> timedelta:
        _log.info("session_left", why=ending.why)
        self._display.disconnected(Problem("UNAVAILABLE", ending.why))
        if ending.stay:
            self._servers.stay()
        if ending.reconnect_after is None or (ending.replica_out and self._servers.others_left):
            return self._delay()
        return ending.reconnect_after

    def _refused(self, problem: Problem, offer: Offer) -> timedelta:
        if self._credentials.refused(offer):
            _log.warning("candidate_certificate_refused", reason=problem.reason, text=problem.text)
            self._servers.stay()
            return self._backoff.delay()
        _log.error("refused_by_control_plane", reason=problem.reason, text=problem.text, remedy=problem.remedy)
        self._display.refused(problem)
        return self._waits.refused_retry

    async def _broken(self, ending: Broken, offer: Offer) -> timedelta:
        if not self._display.welcomed:
            self._credentials.failed(offer)
        if ending.error is None:
            return self._lost(Problem("UNAVAILABLE", "The control plane closed the stream."))
        remote = refusal_of(ending.error)
        problem = Problem(remote.remote_reason, remote.text, remote.remedy, dict(remote.metadata))
        if remote.code in _FOR_A_PERSON or remote.remote_reason in _REASONS_FOR_A_PERSON:
            return self._refused(problem, offer)
        untold = remote.remote_reason == grpc.StatusCode.UNAVAILABLE.name
        # Another replica is the quicker answer.
        if untold and not self._display.welcomed and not self._servers.others_left:
            verdict = await self._diagnosed(problem, offer)
            return self._refused(verdict.problem, offer) if verdict.final else self._lost(verdict.problem)
        return self._lost(problem)

    def _lost(self, problem: Problem) -> timedelta:
        _log.warning("session_lost", reason=problem.reason, text=problem.text)
        self._display.disconnected(problem)
        return self._delay()

    def _delay(self) -> timedelta:
        return self._backoff.elsewhere() if self._servers.others_left else self._backoff.delay()

    async def _diagnosed(self, problem: Problem, offer: Offer) -> Diagnosis:
        # To look at our own dates asks nobody.
        if self._now() < self._next_diagnosis and self._credentials.problem() is None:
            return Diagnosis(replace(problem, remedy="This node tries again by itself."), final=False)
        self._next_diagnosis = self._now() + self._waits.diagnose_every.total_seconds()
        return await diagnose(self._credentials, offer, self._enrollment, problem.text)
