from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from control_plane.domain.node import Node
from control_plane.domain.supervisor import Snapshot, rows
from control_plane.use_cases.ports import Clock, Fleet, Store
from control_plane.use_cases.views import runtime_view


@dataclass(frozen=True, slots=True)
class Process:
    """This control plane's own."""

    pid: int
    version: str
    machine_id_hash: str
    """SHA-256 of the machine id; empty when there is none."""


@dataclass(frozen=True, slots=True)
class GetSupervisor:
    """Every runtime with its budget and health, and the processes behind them."""

    store: Store
    fleet: Fleet
    clock: Clock
    process: Process

    async def __call__(self) -> Snapshot:
        nodes, runtimes = await self.store.read(lambda tx: (tx.nodes.all(), tx.runtimes.all()))
        now = self.clock.now()
        return Snapshot(
            update_time=now,
            rows=rows((runtime_view(runtime, self.fleet) for runtime in runtimes), now),
            control_plane_pid=self.process.pid,
            agent_pid=self._local_agent(nodes),
            version=self.process.version,
        )

    def _local_agent(self, nodes: Iterable[Node]) -> int:
        here = self.process.machine_id_hash
        local = (n.agent_pid for n in nodes if n.machine_id_hash == here and self.fleet.liveness(n.id).online)
        return next(local, 0) if here else 0
