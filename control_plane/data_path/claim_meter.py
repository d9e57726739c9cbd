"""What claims took, by the engine's own counts. It is said in the log when a claim ends."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import structlog

from control_plane.domain.ids import ClaimId
from control_plane.domain.runtime import SYSTEM_CLAIM
from control_plane.use_cases.claims.book import ClaimBook
from gateway.ports import Exchange, Meter

_log = structlog.get_logger()


@dataclass(slots=True)
class Taken:
    """Of one claim, at this replica."""

    project: str
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    busy_ms: float = 0
    """Sum over requests; those at the same time each count."""

    def add(self, exchange: Exchange) -> None:
        self.requests += 1
        self.busy_ms += exchange.total_ms
        if exchange.tokens is not None:
            self.prompt_tokens += exchange.tokens.prompt
            self.completion_tokens += exchange.tokens.completion


class ClaimMeter:
    """The gateway's meter, which hands on to `also` what it takes."""

    def __init__(self, book: ClaimBook, also: Meter) -> None:
        self._book = book
        self._also = also
        self._taken: dict[str, Taken] = {}
        book.on_change(self._heard)

    def of(self, claim: str) -> Taken | None:
        """None: no request came under it, or it is over."""
        return self._taken.get(claim)

    def record(self, exchange: Exchange) -> None:
        self._also.record(exchange)
        claim = exchange.route.claim
        if claim == SYSTEM_CLAIM or exchange.refused_by_node:
            return
        self._taken.setdefault(claim, Taken(exchange.project)).add(exchange)
        if claim not in self._book.claims:
            self._tell(claim)

    def _heard(self, changed: Collection[ClaimId]) -> None:
        for claim in changed:
            if claim not in self._book.claims:
                self._tell(claim)

    def _tell(self, claim: str) -> None:
        taken = self._taken.pop(claim, None)
        if taken is not None:
            _log.info(
                "claim_metered",
                claim=claim,
                project=taken.project,
                requests=taken.requests,
                prompt_tokens=taken.prompt_tokens,
                completion_tokens=taken.completion_tokens,
                busy_ms=round(taken.busy_ms),
            )
