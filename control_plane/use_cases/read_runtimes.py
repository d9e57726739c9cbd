from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.ids import RuntimeId
from control_plane.domain.view import RuntimeView
from control_plane.use_cases.paging import Page, page_of
from control_plane.use_cases.ports import Fleet, Store
from control_plane.use_cases.rows import runtime_of
from control_plane.use_cases.views import runtime_view


@dataclass(frozen=True, slots=True)
class GetRuntime:
    """NotFound."""

    store: Store
    fleet: Fleet

    async def __call__(self, runtime: RuntimeId) -> RuntimeView:
        return runtime_view(await self.store.read(lambda tx: runtime_of(tx, runtime)), self.fleet)


@dataclass(frozen=True, slots=True)
class ListRuntimes:
    """In id order. PageTokenInvalid."""

    store: Store
    fleet: Fleet

    async def __call__(self, page_size: int = 0, page_token: str = "") -> Page[RuntimeView]:
        page = await self.store.read(lambda tx: page_of(tx.runtimes, "runtimes", page_size, page_token))
        return Page(tuple(runtime_view(row, self.fleet) for row in page.items), page.next_token)
