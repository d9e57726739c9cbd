"""Deals requests out to those that serve them, and remembers who has what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count

from control_plane.data_path.choice import Beginnings, Candidate, choose
from control_plane.domain.ids import RuntimeId, instance_name
from control_plane.domain.instance import InstanceState
from control_plane.domain.view import RuntimeView
from gateway.ports import Route


class Choosing:
    def __init__(self) -> None:
        self._in_hand: Counter[str] = Counter()
        self._beginnings = Beginnings()
        self._turns: dict[RuntimeId, Iterator[int]] = {}
        """By the first of those that take turns: requests for others put none of them out of turn."""

    def among(self, serving: Sequence[RuntimeView], first: RuntimeId, project: str, body: bytes) -> RuntimeView:
        """`first`: of all that go by the name, whether it serves or not."""
        turn = next(self._turns.setdefault(first, count()))
        if len(serving) == 1:
            return serving[0]
        of = f"{project} {first}"
        known = self._beginnings.known_by(of, body)
        chosen = serving[choose([self._candidate(view, known) for view in serving], turn)]
        self._beginnings.went(of, body, _instance(chosen))
        return chosen

    def given(self, route: Route) -> Route:
        self._in_hand[route.instance] += 1
        return route

    def left(self, route: Route) -> None:
        self._in_hand[route.instance] -= 1
        if not self._in_hand[route.instance]:
            del self._in_hand[route.instance]

    def forget(self, runtime: RuntimeId) -> None:
        self._turns.pop(runtime, None)

    def _candidate(self, view: RuntimeView, known: str) -> Candidate:
        instance, footprint = _instance(view), view.instance.footprint if view.instance else None
        return Candidate(
            in_hand=self._in_hand.get(instance, 0),
            slots=slots_of(view),
            degraded=view.state is InstanceState.DEGRADED,
            speed=footprint.generated_tokens_per_second if footprint else None,
            knows=instance == known,
        )


def slots_of(view: RuntimeView) -> int:
    """As its engine says, else as it is declared; 0: nobody knows."""
    health = view.instance.health if view.instance else None
    return (health.slots if health else None) or view.runtime.spec.settings.slots or 0


def _instance(view: RuntimeView) -> str:
    return instance_name(view.instance.node, view.runtime.id) if view.instance else ""
