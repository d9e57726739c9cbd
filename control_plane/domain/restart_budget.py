"""Whether what failed may be started again by an order."""

from __future__ import annotations

from datetime import datetime

from control_plane.domain.errors import RestartBudgetExhausted
from control_plane.domain.instance import Instance, InstanceState, RestartBudget


def objection(seen: Instance | None, now: datetime) -> RestartBudgetExhausted | None:
    """Against a restore that does not reset the budget; None: it may start."""
    budget = seen.restart_budget if seen else None
    if seen is None or seen.state is not InstanceState.ERROR or budget is None or not _exhausted(budget, now):
        return None
    window = int(budget.window.total_seconds())
    until = f"{budget.reset_at:%Y-%m-%dT%H:%M:%SZ}" if budget.reset_at else ""
    return RestartBudgetExhausted(
        f"Runtime {seen.runtime} failed and has used {budget.used} of {budget.max_restarts} restarts in {window} s.",
        "Read its log, then restore it with the budget reset" + (f", or wait until {until}." if until else "."),
        runtime=seen.runtime,
        used=str(budget.used),
        max_restarts=str(budget.max_restarts),
        reset_at=until,
    )


def _exhausted(budget: RestartBudget, now: datetime) -> bool:
    """A budget whose oldest restart has left the window since the report has room again."""
    aged = budget.reset_at is not None and budget.reset_at <= now
    return budget.used > 0 and budget.remaining == 0 and not aged
