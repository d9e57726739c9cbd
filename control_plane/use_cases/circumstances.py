from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.ids import NodeId
from control_plane.domain.node_view import FLAPS, MAX_PLACED, NodeView
from control_plane.domain.placing.situation import Calm, MassSilence, Situation, mass_silence, unsteady_until
from control_plane.use_cases.ports import Clock, Fleet


@dataclass(slots=True)
class _Turns:
    online: bool
    online_since: datetime | None = None
    went: tuple[datetime, ...] = ()
    """The last FLAPS times. No deque: an empty one holds 600 bytes, and there is one for each node."""


class Circumstances:
    """What placement goes by beside rows, as seen since this process started. Only on the loop."""

    def __init__(
        self,
        fleet: Fleet,
        clock: Clock,
        calm: Calm = Calm(),  # noqa: B008 - frozen
        *,
        most_runtimes: int = MAX_PLACED,
    ) -> None:
        """`most_runtimes`: that a node is given."""
        self.most_runtimes = most_runtimes
        self._fleet = fleet
        self._clock = clock
        self._calm = calm
        self._turns: dict[NodeId, _Turns] = {}
        self._silence: MassSilence | None = None
        self._silence_over: datetime | None = None
        fleet.on_node(self._heard)

    def situation(self, nodes: Iterable[NodeView]) -> Situation:
        """`nodes`: all there are."""
        before, now = self._silence, self._clock.now()
        self._silence = mass_silence(nodes)
        if before is not None and self._silence is None:
            self._silence_over = now
        return Situation(now, self._calm, self._silence, self._silence_over)

    def unsteady_until(self, node: NodeId) -> datetime | None:
        """When it takes something new again; None: now, or it is away."""
        turns = self._turns.get(node)
        until = unsteady_until(turns.went, turns.online_since, self._calm) if turns is not None else None
        return until if until is not None and self._clock.now() < until else None

    def steady_next(self) -> datetime | None:
        """When the next of those that came and went is steady."""
        times = (until for node in self._turns if (until := self.unsteady_until(node)) is not None)
        return min(times, default=None)

    def _heard(self, node: NodeId) -> None:
        online, now = self._fleet.liveness(node).online, self._clock.now()
        turns = self._turns.setdefault(node, _Turns(online, now if online else None))
        if turns.online and not online:
            turns.went = (*turns.went, now)[-FLAPS:]
            turns.online_since = None
        elif online and not turns.online:
            turns.online_since = now
        turns.online = online
