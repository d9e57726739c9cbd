"""What a manifest would change, as people and programs read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from arw_client import display_id
from arw_client import messages as m
from arwctl.output import document, slug
from arwctl.plain import one_line
from arwctl.screen import GREEN, RED, YELLOW, Screen

COLOURS = {m.PlannedAction.CREATE: GREEN, m.PlannedAction.CHANGE: YELLOW, m.PlannedAction.REMOVE: RED}
SIGNS = {"+": GREEN, "-": RED, "~": YELLOW}


def differs(plan: m.PlanManifestResponse) -> bool:
    actions = {planned.action for planned in plan.runtimes} | {model.action for model in plan.models}
    return bool(actions - {m.PlannedAction.NOTHING})


def tell(screen: Screen, plan: m.PlanManifestResponse) -> None:
    for model in plan.models:
        if model.action != m.PlannedAction.NOTHING:
            screen.line(f"model {model.id}: {slug(model.action)}")
    for planned in plan.runtimes:
        screen.write(f"{_head(screen, planned)}\n")
        if planned.action != m.PlannedAction.NOTHING:
            for line in _lines(planned):
                _signed(screen, line)
    counts = [sum(each.action == action for each in plan.runtimes) for action in (*COLOURS, m.PlannedAction.NOTHING)]
    screen.line("{} to create, {} to change, {} to remove, {} unchanged".format(*counts))


def tell_difference(screen: Screen, name: str, changed: Sequence[m.PlannedRuntime]) -> None:
    """As `diff` writes it: what is declared, then what the file says."""
    if changed:
        screen.line("--- declared")
        screen.line(f"+++ {one_line(name)}")
    for planned in changed:
        screen.line(f"@@ {planned.id} @@")
        for change in planned.changes:
            for sign, value in (("-", change.old_value), ("+", change.new_value)):
                if value:
                    _signed(screen, f"{sign} {change.key} = {value}")


def whole(plan: m.PlanManifestResponse) -> dict[str, Any]:
    """The contract's own form, with the values themselves instead of their JSON."""
    said = document(plan)
    said["runtimes"] = [document(each) | {"changes": _changes(each)} for each in plan.runtimes]
    return said


def difference(planned: m.PlannedRuntime) -> dict[str, Any]:
    return {"id": planned.id, "action": slug(planned.action), "changes": _changes(planned)}


def _changes(planned: m.PlannedRuntime) -> list[dict[str, Any]]:
    return [
        {"key": change.key, "old": _parsed(change.old_value), "new": _parsed(change.new_value)}
        for change in planned.changes
    ]


def _parsed(value: str) -> Any:
    return json.loads(value) if value else None


def _head(screen: Screen, planned: m.PlannedRuntime) -> str:
    said = "unchanged" if planned.action == m.PlannedAction.NOTHING else slug(planned.action)
    source = planned.source_before
    origin = f" (declared by {one_line(source)})" if source and planned.action != m.PlannedAction.NOTHING else ""
    origin += f" (replica of {one_line(display_id(planned.replica_of))})" if planned.replica_of else ""
    return f"{one_line(planned.id)}: {screen.coloured(said, COLOURS.get(planned.action, ''))}{origin}"


def _lines(planned: m.PlannedRuntime) -> Iterator[str]:
    if planned.action != m.PlannedAction.REMOVE:
        yield from map(_change, planned.changes)
    yield from _wanted(planned)
    if planned.restarts:
        yield "restarts: its engine is to run otherwise"
    if planned.action != m.PlannedAction.REMOVE:
        yield f"place: {_place(planned)}"


def _change(change: m.FieldChange) -> str:
    if not change.old_value:
        return f"+ {change.key}: {change.new_value}"
    if not change.new_value:
        return f"- {change.key}: {change.old_value}"
    return f"~ {change.key}: {change.old_value} -> {change.new_value}"


def _wanted(planned: m.PlannedRuntime) -> Iterator[str]:
    """Why it would start or stop."""
    runs, ran = (state == m.DesiredState.RUNNING for state in (planned.desired_state, planned.desired_state_before))
    if planned.action == m.PlannedAction.REMOVE:
        yield "stops: it is not declared any more" if ran else "is stopped already"
    elif runs and not ran:
        yield "starts: auto_start is true"
    elif ran and not runs:
        yield "stops: auto_start is not true any more"
    elif not runs:
        yield "does not start: auto_start is not true"


def _place(planned: m.PlannedRuntime) -> str:
    before, after = display_id(planned.node_before), display_id(planned.node)
    if not after:
        problem = planned.placement_problem
        return f"nowhere. {problem.text} {problem.remedy}".strip() if problem else "nowhere yet"
    if before and before != after:
        return f"{after}, from {before}"
    return f"{after}, as now" if before else after


def _signed(screen: Screen, line: str) -> None:
    screen.write(f"    {screen.coloured(one_line(line), SIGNS.get(line[:1], ''))}\n")
