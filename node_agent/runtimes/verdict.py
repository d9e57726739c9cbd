"""Words for how a launch ended."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from node_agent.domain.budget import Budget
from node_agent.domain.progress import Stall
from node_agent.domain.spec import InstanceSpec
from node_agent.domain.status import ExitRecord, Problem
from node_agent.runtimes.containers.exit_codes import TOOL_FAILED
from node_agent.runtimes.records import ExitNote

LOOK = "Read its log with `arwctl logs`."
TAIL = 20
EVIDENCE_LINES = 5
EVIDENCE_CHARACTERS = 200


def too_late(deadline: timedelta) -> Problem:
    seconds = f"{deadline.total_seconds():g}"
    text = f"The engine was not ready within {seconds} s and was stopped."
    return Problem("START_DEADLINE_EXCEEDED", text, f"{LOOK} A smaller model loads faster.", {"seconds": seconds})


def hangs(misses: int, complaint: str) -> Problem:
    """`complaint`: of its image's own health check; empty: there is none."""
    if complaint:
        text = f"The health check of its image fails, and the engine was stopped: {complaint}"
        return Problem("PROBES_FAILED", text, LOOK, {"misses": str(misses)})
    text = f"The engine left {misses} probes in a row unanswered and was stopped."
    return Problem("PROBES_FAILED", text, LOOK, {"misses": str(misses)})


def slow(found: Stall) -> Problem:
    text = f"It takes requests and emits nothing for {found.limit.total_seconds() / 2:g} s."
    remedy = "It is restarted if this goes on: look at its log and at what it was asked."
    return Problem("NO_PROGRESS", text, remedy, _evidence(found))


def stalled(found: Stall, log: Sequence[str]) -> Problem:
    text = f"The engine took requests, emitted nothing for {found.limit.total_seconds():g} s and was stopped."
    lines = "\n".join(line[:EVIDENCE_CHARACTERS] for line in log[-EVIDENCE_LINES:])
    return Problem("NO_PROGRESS", text, LOOK, {**_evidence(found), "log": lines})


def _evidence(found: Stall) -> dict[str, str]:
    """Ages at the time of the verdict; without a first byte there is no last one."""
    known = {
        "requests": str(found.traffic.requests),
        "oldest_request_s": f"{found.age.total_seconds():.1f}",
        "quiet_s": f"{found.quiet.total_seconds():.1f}",
    }
    last = found.traffic.last_byte
    if last is not None:
        since = found.age.total_seconds() + found.traffic.since - last
        known["last_byte_s_ago"] = f"{since:.1f}"
    return known


def unanswered(url: str) -> Problem:
    text = f"Nothing answers at {url} as it should."
    return Problem("PROBES_FAILED", text, "Start it: what is attached is never started from here.", {"url": url})


def ended(note: ExitNote | None, *, was_ready: bool) -> Problem:
    if note is not None and note.missing_layer:
        layer, text = note.missing_layer, f"This node requires {note.missing_layer} of every engine's sandbox"
        remedy = "Make it possible there, or ask the owner of the node: rule sandbox.required in its node_agent.toml."
        return Problem(
            "LOCAL_POLICY_DENIED", f"{text}: {note.not_started}.", remedy, {"layer": layer, "rule": "sandbox.required"}
        )
    if note is not None and note.not_started:
        text = f"The engine could not be executed: {note.not_started}."
        return Problem("SPAWN_FAILED", text, "Check the engine's file and its permissions on this node.")
    if note is not None and note.oom_killed:
        return _out_of_memory(note.memory_limit_bytes)
    if note is not None and note.exit_code == 0 and not was_ready:
        text = "The engine ended with exit code 0 before it was ready; that is a failure, for it has to go on serving."
        remedy = "Check what it is told to run: a program that only prints or checks something ends like this."
        return Problem("ENGINE_EXITED_BEFORE_READY", text, remedy)
    reason = "ENGINE_EXITED" if was_ready else "ENGINE_EXITED_BEFORE_READY"
    when = "" if was_ready else " before it was ready"
    return Problem(reason, f"The engine {manner(note)}{when}.", LOOK)


def is_hopeless(note: ExitNote | None) -> bool:
    """What could not be executed cannot be the next time; a container tool that failed may have been busy."""
    return note is not None and bool(note.not_started) and note.exit_code != TOOL_FAILED


def _out_of_memory(limit_bytes: int) -> Problem:
    smaller = "Use a smaller model, fewer slots or a shorter context"
    if limit_bytes:
        text = f"The engine ran out of its memory limit of {limit_bytes >> 20} MiB."
        remedy = f"{smaller}, or ask the owner of the node: rule memory.per_runtime in its node_agent.toml."
        return Problem("MEMORY_INSUFFICIENT", text, remedy, {"rule": "memory.per_runtime"})
    text = "The kernel ended the engine because memory ran out."
    return Problem("MEMORY_INSUFFICIENT", text, f"{smaller}, or free memory on this node.")


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
