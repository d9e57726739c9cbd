"""The supervisor's snapshot and the runtime matrix, for scripts and for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arw_client import Client
from arw_client import messages as m
from arwctl.output import document, when
from arwctl.screen import BY_SEVERITY, Screen

# Dashboards read these names over HTTP; scripts find the same ones here.
SUPERVISOR_NAMES = {"update_time": "updated_at"}
MATRIX_NAMES = {"update_time": "updated", "generate_time": "generated", "window": "window_seconds"}
ATTENTION = {"warn", "error"}
CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class Status:
    supervisor: m.SupervisorSnapshot
    matrix: m.RuntimeMatrix

    def document(self) -> dict[str, Any]:
        return {
            "supervisor": renamed(document(self.supervisor), SUPERVISOR_NAMES),
            "matrix": renamed(document(self.matrix), MATRIX_NAMES),
        }

    def of(self, runtime_id: str) -> m.RuntimeStatus | None:
        return next((each.status for each in self.supervisor.runtimes if _id(each) == runtime_id), None)


async def fetch(client: Client, runtime_id: str = "") -> Status:
    """Both views now; only one runtime when an id is given."""
    supervisor, matrix = await client.state.supervisor(), await client.state.matrix()
    if runtime_id:
        supervisor.runtimes = [each for each in supervisor.runtimes if _id(each) == runtime_id]
    return Status(supervisor, matrix)


def _id(runtime: m.SupervisorRuntime) -> str:
    return runtime.descriptor.id if runtime.descriptor else ""


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    match value:
        case Mapping():
            return {names.get(key, key): renamed(item, names) for key, item in value.items()}
        case list():
            return [renamed(item, names) for item in value]
        case _:
            return value


def print_status(screen: Screen, status: Status) -> None:
    screen.write(_headline(screen, status.supervisor) + "\n")
    for runtime in status.supervisor.runtimes:
        _print_runtime(screen, runtime.descriptor or m.RuntimeDescriptor(), runtime.status or m.RuntimeStatus())
    print_matrix(screen, status.matrix)


def _headline(screen: Screen, supervisor: m.SupervisorSnapshot) -> str:
    found = [each.status for each in supervisor.runtimes if each.status]
    ready = sum(status.state == "ready" for status in found)
    budgets = [status.restart_budget for status in found if status.restart_budget]
    text = f"Runtimes: {ready}/{len(supervisor.runtimes)} ready"
    if budgets:
        text += f", minimum {min(budget.remaining for budget in budgets)} restarts left"
    resets = [budget.reset_at for budget in budgets if budget.reset_at]
    if resets:
        text += f", next reset {when(min(resets))}"
    worst = "warn" if any(each.severity in ATTENTION or each.state == "offline" for each in found) else "info"
    return screen.coloured(text + (" - attention required" if worst == "warn" else ""), BY_SEVERITY[worst])


def _print_runtime(screen: Screen, what: m.RuntimeDescriptor, status: m.RuntimeStatus) -> None:
    label = screen.coloured(status.state_label or "Unknown", BY_SEVERITY.get(status.severity, ""))
    place = f"on {status.node.removeprefix('nodes/')}" if status.node else "without a place"
    belongs = f" (replica of {what.replica_of})" if what.replica_of else ""
    screen.write(f"  {screen.coloured(what.id + belongs, '1')}  {label}  ")
    screen.line(f"{status.engine or what.adapter} {place}{_process(status)}")
    for line in _lines(status):
        screen.line(f"      {line}")


def _process(status: m.RuntimeStatus) -> str:
    facts = [status.accelerator_label, "in a container" if status.execution_mode == CONTAINER else ""]
    if status.engine_pid:
        facts += [f"engine pid {status.engine_pid}", f"up {span(status.uptime_ms)}"]
    if status.health_grade:
        facts.append(f"grade {status.health_grade}")
    if status.prompt_cache_warm:
        facts.append("prompt cache warm")
    return "".join(f", {fact}" for fact in facts if fact)


def _lines(status: m.RuntimeStatus) -> list[str]:
    budget = status.restart_budget
    lines = [status.summary] if status.summary and status.summary != status.state_label else []
    if budget:
        resets = f" (resets at {when(budget.reset_at)})" if budget.reset_at else ""
        lines.append(f"Restart budget: {budget.remaining}/{budget.max_restarts} remaining{resets}")
    return [*lines, *(line for line in status.detail if not line.startswith("Restart budget:"))]


def print_matrix(screen: Screen, matrix: m.RuntimeMatrix) -> None:
    screen.line(f"Matrix: ttl {matrix.ttl_seconds}s ({len(matrix.items)} node{'s'[: len(matrix.items) != 1]})")
    for target, entry in sorted(matrix.items.items()):
        status = entry.status or m.RuntimeMatrixStatus()
        label = screen.coloured(status.label, BY_SEVERITY.get(status.severity, ""))
        screen.write(f"  {screen.coloured(target, '1')}  {label}\n")
        for line in status.detail:
            screen.line(f"      {line}")


def span(milliseconds: int) -> str:
    """A duration for people: "8 s", "5 min", "3 h", "2 d"."""
    seconds = milliseconds // 1000
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
