"""How what has a place is tied to it."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum, auto

from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.objections import belongs
from control_plane.domain.placing.situation import RESUME, Situation
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Runtime

LOOK_AGAIN = timedelta(seconds=10)
"""At a node that may still come back in time after a start of the control plane."""


class Tie(Enum):
    KEPT = auto()
    LOOSE = auto()
    """It leaves as soon as it fits elsewhere."""
    CUT = auto()
    """It leaves now, and waits for a place if it must."""


def tie(runtime: Runtime, view: NodeView | None, situation: Situation) -> Tie:
    """`view`: of its own node; None: there is none."""
    if view is None or not belongs(runtime, view):
        return Tie.CUT
    drain = view.node.drain
    if drain is not None:
        return Tie.CUT if drain.is_over(situation.now) else Tie.LOOSE
    due = _moves_at(runtime, view, situation)
    return Tie.LOOSE if due is not None and situation.now >= due else Tie.KEPT


def turns_at(runtime: Runtime, view: NodeView, situation: Situation) -> datetime | None:
    """When time alone changes its tie; None: it does not."""
    drain = view.node.drain
    if drain is not None:
        return drain.until if drain.until is not None and situation.now < drain.until else None
    if _is_waited_for(runtime, view):
        return situation.now + LOOK_AGAIN
    due = _moves_at(runtime, view, situation)
    return due if due is not None and situation.now < due else None


def stuck(view: NodeView, nowhere: Problem) -> Problem:
    """Of a loose one: why it stays, given why it fits nowhere else."""
    drain = view.node.drain
    end = f" It is stopped at {drain.until:%Y-%m-%dT%H:%M:%SZ}." if drain is not None and drain.until else ""
    text = f"It is to leave node {view.node.id}, and fits nowhere else. {nowhere.text}{end}"
    return Problem(nowhere.reason, text, nowhere.remedy, nowhere.metadata)


def waits(runtime: Runtime, view: NodeView, situation: Situation) -> Problem | None:
    """Why it is still on a node that is silent; None: it is not, or it is to leave."""
    node, since = view.node, view.liveness.offline_since
    if view.liveness.online or tie(runtime, view, situation) is not Tie.KEPT:
        return None
    silent = f"Node {node.id} is silent" + (f" since {since:%Y-%m-%dT%H:%M:%SZ}." if since else " as yet.")
    due = _moves_at(runtime, view, situation)
    if due is not None:
        text, remedy = f"This runtime is moved at {due:%Y-%m-%dT%H:%M:%SZ} unless it is back.", "Start its agent."
    elif runtime.spec.placement.move_after is None:
        text = "This runtime stays there, for its manifest lets it (on_disconnect)."
        remedy = f"Start its agent; or move everything away: `arwctl nodes drain {node.id}`."
    elif situation.silence is not None and not view.given_up:
        text, remedy = situation.silence.text, RESUME
    else:
        text, remedy = "It has its time to come back after the start of the control plane.", "Start its agent."
    return Problem("NODE_OFFLINE", f"{silent} {text}", remedy, {"node": node.id})


def _moves_at(runtime: Runtime, view: NodeView, situation: Situation) -> datetime | None:
    """When it leaves its node for its silence, or should have; None: as things are, never."""
    after, since = runtime.spec.placement.move_after, view.liveness.offline_since
    if after is None or since is None or view.liveness.online:
        return None
    if situation.silence is not None and not view.given_up:
        return None
    if situation.silence_over is not None and not view.given_up:
        since = max(since, situation.silence_over)
    rested = runtime.departure.time + situation.calm.rest if runtime.departure is not None else since
    return max(since + after, rested)


def _is_waited_for(runtime: Runtime, view: NodeView) -> bool:
    known = view.liveness.online or view.liveness.offline_since is not None
    return runtime.spec.placement.move_after is not None and not known
