from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain.runtime import DesiredState
from control_plane.use_cases import announcements
from control_plane.use_cases.ports import Clock, Store, Transaction
from control_plane.use_cases.rows import save_runtime


@dataclass(frozen=True, slots=True)
class BootRuntimes:
    """At control-plane start: what has auto_start is wanted again. Returns how many were not."""

    store: Store
    clock: Clock

    async def __call__(self) -> int:
        return await self.store.write(self._booted)

    def _booted(self, tx: Transaction) -> int:
        now = self.clock.now()
        stopped = [r for r in tx.runtimes.all() if r.spec.auto_start and r.desired_state is DesiredState.STOPPED]
        for runtime in stopped:
            saved = save_runtime(tx, replace(runtime, desired_state=DesiredState.RUNNING), now)
            tx.journal.append(announcements.restore_requested(saved, now, "boot"))
        return len(stopped)
