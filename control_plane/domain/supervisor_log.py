"""What a node's supervisor did with processes, as its reports show it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from control_plane.domain.instance import ExitRecord, Instance, InstanceState, Severity
from control_plane.domain.transition import Transition


class Deed(StrEnum):
    STARTED = "engine.started"
    ENDED = "engine.ended"


@dataclass(frozen=True, slots=True)
class LogEntry:
    deed: Deed
    instance: Instance
    """As it is by now."""
    incarnation: int
    """Of the process."""
    severity: Severity
    text: str
    ended: ExitRecord | None = None


def entries(transition: Transition) -> Iterator[LogEntry]:
    """The oldest first. Of what is heard for the first time in a full report nobody knows when it happened."""
    before, after = transition.before, transition.after
    if transition.resync and before is None:
        return
    if after.last_exit is not None and (before is None or before.last_exit != after.last_exit):
        incarnation, text = (before or after).incarnation, f"The engine {_how(after.last_exit)}."
        yield LogEntry(Deed.ENDED, after, incarnation, _severity(after), text, after.last_exit)
    process = after.process
    if process is not None and (before is None or after.incarnation > before.incarnation):
        text = f"{after.engine or 'The engine'} started as process {process.engine_pid}."
        yield LogEntry(Deed.STARTED, after, after.incarnation, Severity.INFO, text)


def _severity(after: Instance) -> Severity:
    """An end that was ordered is in order."""
    if after.state is InstanceState.ERROR:
        return Severity.ERROR
    return Severity.WARN if after.state is InstanceState.RESTARTING or after.problem is not None else Severity.INFO


def _how(ended: ExitRecord) -> str:
    if ended.oom_killed:
        return "was killed for lack of memory"
    if ended.signal is not None:
        return f"was ended by {_name(ended.signal)}"
    return f"ended with exit code {ended.exit_code}" if ended.exit_code is not None else "ended, and nobody saw how"


def _name(number: int) -> str:
    """As Linux numbers them: the node may run another system."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
