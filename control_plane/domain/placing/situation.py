"""What places depend on beside rows: the time, and who fell silent or comes and goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from control_plane.domain.ids import NodeId
from control_plane.domain.node import Standing
from control_plane.domain.node_view import FLAPS, NodeView

MANY = 3
SHARE = 0.3
AT_ONCE = timedelta(seconds=60)
"""Nodes that are cut off together are found silent within this: the patience with each differs."""


@dataclass(frozen=True, slots=True)
class Calm:
    """How long restless things are left alone."""

    steady: timedelta = timedelta(minutes=5)
    window: timedelta = timedelta(minutes=10)
    rest: timedelta = timedelta(minutes=5)
    """A runtime that was moved is not moved again for silence within this."""


@dataclass(frozen=True, slots=True)
class MassSilence:
    """So many nodes at once that something else than the nodes is likely to be wrong."""

    nodes: tuple[NodeId, ...]
    of: int
    """How many there are."""

    @property
    def text(self) -> str:
        return f"{len(self.nodes)} of {self.of} nodes fell silent at once, so nothing is moved away from silent nodes."


RESUME = "It ends when they are back. If they are lost, say so: `arwctl nodes resume-placement`."


@dataclass(frozen=True, slots=True)
class Situation:
    now: datetime
    calm: Calm = Calm()
    silence: MassSilence | None = None
    silence_over: datetime | None = None
    """When the last mass silence ended: whoever is still silent has its time from then on, as the others had."""


UNTIMED = Situation(datetime.min.replace(tzinfo=UTC))
"""Before any deadline."""


def mass_silence(views: Iterable[NodeView]) -> MassSilence | None:
    """Of nodes that were connected once and that nobody gave up since."""
    counted = [view for view in views if _counts(view)]
    since = {view.node.id: view.liveness.offline_since for view in counted if not view.liveness.online}
    fell = sorted((time, node) for node, time in since.items() if time is not None)
    together = sorted({node for group in _at_once(fell) if _is_mass(group, len(counted)) for _, node in group})
    return MassSilence(tuple(together), len(counted)) if together else None


def unsteady_until(went: Sequence[datetime], online_since: datetime | None, calm: Calm) -> datetime | None:
    """When a node counts as steady again, given the last times it went; None: it is steady, or away."""
    last = went[-FLAPS:]
    if len(last) < FLAPS or last[-1] - last[0] > calm.window or online_since is None:
        return None
    return online_since + calm.steady


def _counts(view: NodeView) -> bool:
    return view.node.standing is Standing.ADMITTED and view.node.session_epoch > 0 and not view.given_up


def _is_mass(group: Sequence[tuple[datetime, NodeId]], nodes: int) -> bool:
    return len(group) >= MANY and len(group) > SHARE * nodes


def _at_once(fell: Sequence[tuple[datetime, NodeId]]) -> Iterable[Sequence[tuple[datetime, NodeId]]]:
    """In order of time: for each, those that fell silent with or shortly after it."""
    end = 0
    for start, (time, _) in enumerate(fell):
        while end < len(fell) and fell[end][0] - time <= AT_ONCE:
            end += 1
        if end - start >= MANY:
            yield fell[start:end]
