"""Words for how a launch ended."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta

from node_agent.domain.budget import Budget
from node_agent.domain.spec import InstanceSpec
from node_agent.domain.status import ExitRecord, Problem
from node_agent.runtimes.records import ExitNote

LOOK = "Read its log with `arwctl logs`."
TAIL = 20


def too_late(deadline: timedelta) -> Problem:
    seconds = f"{deadline.total_seconds():g}"
    text = f"The engine was not ready within {seconds} s and was stopped."
    return Problem("START_DEADLINE_EXCEEDED", text, f"{LOOK} A smaller model loads faster.", {"seconds": seconds})


def hangs(misses: int) -> Problem:
    text = f"The engine left {misses} probes in a row unanswered and was stopped."
    return Problem("PROBES_FAILED", text, LOOK, {"misses": str(misses)})


def ended(note: ExitNote | None, *, was_ready: bool) -> Problem:
    if note is not None and note.not_started:
        text = f"The engine could not be executed: {note.not_started}."
        return Problem("SPAWN_FAILED", text, "Check the engine's file and its permissions on this node.")
    if note is not None and note.oom_killed:
        remedy = "Use a smaller model, fewer slots or a shorter context, or free memory on this node."
        return Problem("MEMORY_INSUFFICIENT", "The kernel ended the engine because memory ran out.", remedy)
    reason = "ENGINE_EXITED" if was_ready else "ENGINE_EXITED_BEFORE_READY"
    when = "" if was_ready else " before it was ready"
    return Problem(reason, f"The engine {manner(note)}{when}.", LOOK)


def manner(note: ExitNote | None) -> str:
    if note is None:
        return "ended, and nobody saw how"
    if note.signal is not None:
        return f"was ended by {_signal_name(note.signal)}"
    return f"ended with exit code {note.exit_code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def exit_record(note: ExitNote | None, lines: tuple[str, ...], now: datetime) -> ExitRecord:
    if note is None:
        return ExitRecord(exit_time=now, log_tail=lines[-TAIL:])
    time = datetime.fromtimestamp(note.time, UTC)
    return ExitRecord(note.exit_code, note.signal, note.oom_killed, time, lines[-TAIL:])


def exhausted(spec: InstanceSpec, budget: Budget, last: Problem | None, now: datetime) -> Problem:
    view = budget.view(spec.restart, now)
    seconds = f"{spec.restart.window.total_seconds():g}"
    text = f"It used up its {spec.restart.max_restarts} automatic restarts in {seconds} s."
    if last is not None:
        text = f"{text} The last time: {last.text}"
    remedy = f"Find out why it ends, then run `arwctl runtime restore {spec.runtime_id} --reset-budget`."
    return Problem("RESTART_BUDGET_EXHAUSTED", text, remedy, {"used": str(view.used), **_cause(last)})


def _cause(last: Problem | None) -> dict[str, str]:
    return {"cause": last.reason} if last is not None else {}
