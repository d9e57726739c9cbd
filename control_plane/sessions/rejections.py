"""Specs that a node would not take. They stay on show, whatever it reports of the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from control_plane.domain.ids import NodeId, RuntimeId, instance_name
from control_plane.domain.instance import Instance, InstanceState, Severity
from control_plane.sessions.steps import Reject


class Answers(Protocol):
    """What a stream knows of the node's answers."""

    def refuses(self, name: str, generation: int) -> bool:
        """Whether the node would still not take this generation, as far as is known."""


class Rejections:
    """Of one node. A later generation, an admission or a removal ends one; the end of a stream does not.

    The first full report of a stream comes before the node says again what it refuses. Until it has answered, what
    it refused on the last stream stands, unless it reports the very generation.
    """

    def __init__(self, node: NodeId) -> None:
        self.node = node
        self._rejects: dict[RuntimeId, Reject] = {}
        self._presumed: set[RuntimeId] = set()
        """Not yet said again on this stream."""

    def begin(self) -> tuple[str, ...]:
        """A stream was opened; the names of the resources that stand as refused until it tells more."""
        self._presumed = set(self._rejects)
        return tuple(instance_name(self.node, runtime) for runtime in self._rejects)

    def add(self, reject: Reject) -> bool:
        """False when this was told already."""
        known = self._rejects.get(reject.runtime)
        self._rejects[reject.runtime] = reject
        self._presumed.discard(reject.runtime)
        return known is None or known.generation != reject.generation

    def shown(
        self, reported: Sequence[Instance], gone: Collection[RuntimeId], now: datetime, *, full: bool
    ) -> Iterator[Instance]:
        """What was reported, with the node's objections; and those that the report would else make vanish."""
        for instance in reported:
            self._believe(instance)
            reject = self._rejects.get(instance.runtime)
            yield rejected(self.node, reject, instance, now) if reject else instance
        named = {instance.runtime for instance in reported}
        for runtime, reject in self._rejects.items():
            if runtime not in named and (full or runtime in gone):
                yield rejected(self.node, reject, None, now)

    def settle(self, answers: Answers) -> tuple[RuntimeId, ...]:
        """Forget what is no longer refused, and say what that is; call it after each answer and each read."""
        over = tuple(
            runtime
            for runtime, reject in self._rejects.items()
            if not answers.refuses(instance_name(self.node, runtime), reject.generation)
        )
        for runtime in over:
            del self._rejects[runtime]
        return over

    def _believe(self, instance: Instance) -> None:
        """A node that reports the generation has taken it since, though this stream has not heard so."""
        reject = self._rejects.get(instance.runtime)
        if reject and instance.runtime in self._presumed and instance.observed_generation == reject.generation:
            del self._rejects[instance.runtime]


def rejected(node: NodeId, reject: Reject, known: Instance | None, now: datetime) -> Instance:
    """The instance with the node's objection. One that serves goes on serving its last good spec."""
    problem = reject.problem
    if known is not None and known.state.serves:
        detail = known.detail if problem.text in known.detail else (problem.text, *known.detail)
        return replace(known, severity=Severity.ERROR, problem=problem, detail=detail)
    return Instance(
        node=node,
        runtime=reject.runtime,
        state=InstanceState.ERROR,
        severity=Severity.ERROR,
        summary=problem.text,
        detail=(problem.remedy,) if problem.remedy else (),
        observed_generation=reject.generation,
        problem=problem,
        update_time=now,
        restart_budget=known.restart_budget if known else None,
        refused=known is None or known.refused,
    )
