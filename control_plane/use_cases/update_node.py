from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from control_plane.domain.ids import NodeId
from control_plane.domain.node import Node
from control_plane.domain.node_view import NodeView
from control_plane.use_cases.change_node import change_node
from control_plane.use_cases.check_labels import check_labels
from control_plane.use_cases.ports import Clock, Fleet, Store
from control_plane.use_cases.rows import match_etag


@dataclass(frozen=True, slots=True)
class UpdateNode:
    """Label a node, or say whether it takes new runtimes, and more than its memory holds.

    NotFound, EtagMismatch, InvalidArgument.
    """

    store: Store
    fleet: Fleet
    clock: Clock

    async def __call__(
        self,
        node: NodeId,
        *,
        labels: Mapping[str, str] | None = None,
        schedulable: bool | None = None,
        overcommit: bool | None = None,
        etag: str = "",
    ) -> NodeView:
        """None leaves a thing as it is."""
        check_labels(labels or {})

        def change(row: Node) -> Node:
            match_etag(row.etag, etag)
            return replace(
                row,
                labels=row.labels if labels is None else dict(labels),
                schedulable=row.schedulable if schedulable is None else schedulable,
                overcommit=row.overcommit if overcommit is None else overcommit,
            )

        return await change_node(self.store, self.fleet, self.clock, node, change)
