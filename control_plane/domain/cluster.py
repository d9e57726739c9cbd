"""The machines as one read model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.ids import ModelId
from control_plane.domain.node_view import NodeView


@dataclass(frozen=True, slots=True)
class ClusterNode:
    view: NodeView
    runtimes: int
    """How many are placed there."""
    models: tuple[ModelId, ...]
    """Theirs, in id order."""


@dataclass(frozen=True, slots=True)
class Cluster:
    nodes: tuple[ClusterNode, ...]
    update_time: datetime
    ttl_seconds: int
