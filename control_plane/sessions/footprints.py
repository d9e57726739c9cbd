"""What nodes told of the memory that launches took, and of their speed."""

from __future__ import annotations

from dataclasses import dataclass, field

from control_plane.domain.footprint import Footprint, FootprintKey
from control_plane.domain.ids import NodeId

KEYS = 4096
NODES = 64
"""For each key."""


@dataclass(slots=True)
class LearntFootprints:
    """The oldest of too many are forgotten."""

    told: dict[FootprintKey, dict[NodeId, Footprint]] = field(default_factory=dict)

    def learn(self, node: NodeId, footprint: Footprint) -> None:
        by_node = self.told.pop(footprint.key, {})
        by_node.pop(node, None)
        by_node[node] = footprint
        self.told[footprint.key] = by_node
        if len(by_node) > NODES:
            del by_node[next(iter(by_node))]
        if len(self.told) > KEYS:
            del self.told[next(iter(self.told))]
