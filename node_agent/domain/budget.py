"""How many automatic restarts an instance may still have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from node_agent.domain.spec import RestartPolicy
from node_agent.domain.status import BudgetView


@dataclass(frozen=True, slots=True)
class Budget:
    """Automatic restarts, counted over a sliding window. An operator's restore never counts."""

    restarts: tuple[datetime, ...] = ()

    def counted(self, policy: RestartPolicy, now: datetime) -> tuple[datetime, ...]:
        """What lies in the window. A time ahead of the clock counts as now: a clock set back must not pile up blame."""
        times = (min(time, now) for time in self.restarts)
        return tuple(time for time in times if time > now - policy.window)

    def exhausted(self, policy: RestartPolicy, now: datetime) -> bool:
        return len(self.counted(policy, now)) >= policy.max_restarts

    def spend(self, policy: RestartPolicy, now: datetime) -> Budget:
        return replace(self, restarts=(*self.counted(policy, now), now))

    def view(self, policy: RestartPolicy, now: datetime) -> BudgetView:
        counted = self.counted(policy, now)
        reset_in = min(counted) + policy.window - now if counted else None
        return BudgetView(policy.max_restarts, policy.window, len(counted), reset_in)
