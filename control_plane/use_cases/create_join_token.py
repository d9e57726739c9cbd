from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from control_plane.domain import secret
from control_plane.domain.errors import InvalidArgument, TokenUsed
from control_plane.domain.ids import NodeId, TokenId, checked
from control_plane.domain.join_token import DEFAULT_TTL, MAX_TTL, JoinToken
from control_plane.use_cases.check_labels import check_labels
from control_plane.use_cases.once import Request, remember, repeated, request
from control_plane.use_cases.ports import Clock, Randomness, Store, Transaction
from control_plane.use_cases.rows import token_of


@dataclass(frozen=True, slots=True)
class JoinTokenGrant:
    token: JoinToken
    text: str
    """ "{id}.{secret}": shown once, kept as a hash."""


@dataclass(frozen=True, slots=True)
class CreateJoinToken:
    """Grant one enrolment. InvalidArgument, InvalidId.

    A repeated call makes a new secret for the same token, for its first answer was lost; TokenUsed if it was not.
    """

    store: Store
    clock: Clock
    randomness: Randomness

    async def __call__(
        self,
        *,
        node: NodeId | None = None,
        labels: Mapping[str, str] | None = None,
        ttl: timedelta | None = None,
        requires_approval: bool = False,
        request_id: str = "",
    ) -> JoinTokenGrant:
        """`node` binds the token to that id; `ttl` None means 15 minutes."""
        new = self._drafted(node, dict(labels or {}), DEFAULT_TTL if ttl is None else ttl, requires_approval)
        asked = request("CreateJoinToken", request_id, node, sorted(new.labels.items()), ttl, requires_approval)
        text = secret.crockford(self.randomness.secret(secret.SECRET_BYTES))
        token = await self.store.write(lambda tx: _granted(tx, replace(new, secret_sha256=secret.hashed(text)), asked))
        return JoinTokenGrant(token, f"{token.id}.{text}")

    def _drafted(
        self, node: NodeId | None, labels: dict[str, str], ttl: timedelta, requires_approval: bool
    ) -> JoinToken:
        if node is not None:
            checked(node, "node")
        check_labels(labels)
        if not timedelta() < ttl <= MAX_TTL:
            raise InvalidArgument("The token's life is out of range.", "Ask for more than 0 and at most 7 days.")
        token = TokenId(secret.crockford(self.randomness.secret(secret.ID_BYTES)))
        now = self.clock.now()
        return JoinToken(token, "", now, now + ttl, node, labels, requires_approval)


def _granted(tx: Transaction, new: JoinToken, asked: Request) -> JoinToken:
    answer = repeated(tx, asked)
    if answer is None:
        remember(tx, asked, new.id.encode())
    else:
        new = replace(token_of(tx, TokenId(answer.decode())), secret_sha256=new.secret_sha256)
    if new.use_time is not None:
        raise TokenUsed("The token that this request made was used already.", "Make a new one.", token=new.id)
    tx.join_tokens.put(new)
    return new
