"""Specs that a node would not take. They stay on show, whatever it reports of the rest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from control_plane.domain.ids import NodeId, RuntimeId, instance_name
from control_plane.domain.instance import Instance, InstanceState, Severity
from control_plane.sessions.steps import Reject

StillRefused = Callable[[str, int], bool]
"""Whether the node still refuses this resource at this generation."""


class Rejections:
    """Of one session. A later generation, an admission or a removal ends one."""

    def __init__(self, node: NodeId, still_refused: StillRefused) -> None:
        self._node = node
        self._still_refused = still_refused
        self._rejects: dict[RuntimeId, Reject] = {}

    def add(self, reject: Reject) -> bool:
        """False when this was told already."""
        known = self._rejects.get(reject.runtime)
        self._rejects[reject.runtime] = reject
        return known is None or known.generation != reject.generation

    def shown(
        self, reported: Sequence[Instance], gone: Collection[RuntimeId], now: datetime, *, full: bool
    ) -> Iterator[Instance]:
        """What was reported, with the node's objections; and those that the report would else make vanish."""
        self.settle()
        for instance in reported:
            reject = self._rejects.get(instance.runtime)
            yield rejected(self._node, reject, instance, now) if reject else instance
        named = {instance.runtime for instance in reported}
        for runtime, reject in self._rejects.items():
            if runtime not in named and (full or runtime in gone):
                yield rejected(self._node, reject, None, now)

    def settle(self) -> None:
        """Forget what is no longer refused; call it after each acknowledgement."""
        self._rejects = {
            runtime: reject
            for runtime, reject in self._rejects.items()
            if self._still_refused(instance_name(self._node, runtime), reject.generation)
        }


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
    )
