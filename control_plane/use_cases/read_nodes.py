from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.ids import NodeId
from control_plane.domain.node_view import NodeView
from control_plane.use_cases.paging import Page, page_of
from control_plane.use_cases.ports import Fleet, Store
from control_plane.use_cases.rows import node_of
from control_plane.use_cases.views import node_view


@dataclass(frozen=True, slots=True)
class GetNode:
    """NotFound."""

    store: Store
    fleet: Fleet

    async def __call__(self, node: NodeId) -> NodeView:
        return node_view(await self.store.read(lambda tx: node_of(tx, node)), self.fleet)


@dataclass(frozen=True, slots=True)
class ListNodes:
    """In id order. PageTokenInvalid."""

    store: Store
    fleet: Fleet

    async def __call__(self, page_size: int = 0, page_token: str = "") -> Page[NodeView]:
        page = await self.store.read(lambda tx: page_of(tx.nodes, "nodes", page_size, page_token))
        return Page(tuple(node_view(row, self.fleet) for row in page.items), page.next_token)
