from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from control_plane.domain.cluster import Cluster, ClusterNode
from control_plane.domain.matrix import ttl_seconds
from control_plane.domain.node import Node, Standing
from control_plane.domain.placing.situation import mass_silence
from control_plane.domain.replica import Replica
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.ports import Clock, Fleet
from control_plane.use_cases.views import node_view


@dataclass(frozen=True, slots=True)
class GetCluster:
    """Every machine that may come back, with what is placed on it."""

    mirror: Mirror
    fleet: Fleet
    clock: Clock
    heartbeat: timedelta
    replicas: Callable[[], Sequence[Replica]]

    async def __call__(self) -> Cluster:
        await self.mirror.look()
        rows = sorted(self.mirror.nodes.values(), key=lambda node: node.id)
        nodes = tuple(self._seen(node) for node in rows if node.standing is not Standing.REVOKED)
        silence = mass_silence(node.view for node in nodes)
        return Cluster(nodes, tuple(self.replicas()), self.clock.now(), ttl_seconds(self.heartbeat), silence)

    def _seen(self, node: Node) -> ClusterNode:
        placed = list(self.mirror.placed(node.id))
        models = sorted({runtime.spec.model for runtime in placed if runtime.spec.model})
        return ClusterNode(node_view(node, self.fleet), len(placed), tuple(models))
