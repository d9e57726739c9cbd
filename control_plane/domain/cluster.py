"""The machines as one read model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.ids import ModelId
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.situation import MassSilence
from control_plane.domain.replica import Replica


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
    replicas: tuple[Replica, ...]
    """Of the control plane, the oldest first."""
    update_time: datetime
    ttl_seconds: int
    silence: MassSilence | None = None
    """For which nothing is moved away from silent nodes."""
