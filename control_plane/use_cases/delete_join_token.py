from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.ids import TokenId
from control_plane.use_cases.ports import Store, Transaction
from control_plane.use_cases.rows import token_of


@dataclass(frozen=True, slots=True)
class DeleteJoinToken:
    """A deleted token lets nobody in; who joined with it stays. NotFound."""

    store: Store

    async def __call__(self, token: TokenId) -> None:
        await self.store.write(lambda tx: _deleted(tx, token))


def _deleted(tx: Transaction, token: TokenId) -> None:
    token_of(tx, token)
    tx.join_tokens.delete(token)
