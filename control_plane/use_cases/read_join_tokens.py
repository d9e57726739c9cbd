from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.join_token import JoinToken
from control_plane.use_cases.paging import Page, page_of
from control_plane.use_cases.ports import Store


@dataclass(frozen=True, slots=True)
class ListJoinTokens:
    """Without their secrets, in id order. PageTokenInvalid."""

    store: Store

    async def __call__(self, page_size: int = 0, page_token: str = "") -> Page[JoinToken]:
        return await self.store.read(lambda tx: page_of(tx.join_tokens, "joinTokens", page_size, page_token))
