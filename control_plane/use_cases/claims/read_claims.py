from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from control_plane.domain.claims.allocation import Wait
from control_plane.domain.claims.claim import Claim, Lease
from control_plane.domain.ids import ClaimId, ProjectId, RuntimeId
from control_plane.use_cases.claims.changes import claim_of
from control_plane.use_cases.claims.waits import ClaimWaits
from control_plane.use_cases.paging import MAX_SIZE, Page, page_of
from control_plane.use_cases.ports import Store, Transaction


@dataclass(frozen=True, slots=True)
class ClaimView:
    claim: Claim
    lease: Lease | None
    """None: it is over."""
    wait: Wait | None = None
    """None: it does not wait, or nobody looked."""


@dataclass(frozen=True, slots=True)
class ClaimFilter:
    project: ProjectId | None = None
    runtime: RuntimeId | None = None
    """That they hold."""
    live: bool = False
    """Only those that are not over."""

    def lets(self, claim: Claim) -> bool:
        of_project = self.project in (None, claim.project)
        on_runtime = self.runtime is None or (claim.held is not None and claim.held.runtime == self.runtime)
        return of_project and on_runtime and not (self.live and claim.state.over)


@dataclass(frozen=True, slots=True)
class GetClaim:
    """NotFound, also for a claim of another project. `project` None: of any."""

    store: Store
    waits: ClaimWaits

    async def __call__(self, project: ProjectId | None, claim: ClaimId) -> ClaimView:
        row, lease = await self.store.read(
            lambda tx: (claim_of(tx, claim, project), tx.claim_leases.get(claim)),
        )
        return ClaimView(row, lease, await self.waits.of(row))


@dataclass(frozen=True, slots=True)
class ListClaims:
    """In id order. PageTokenInvalid."""

    store: Store

    async def __call__(
        self, wanted: ClaimFilter = ClaimFilter(), page_size: int = 0, page_token: str = ""
    ) -> Page[ClaimView]:
        return await self.store.read(lambda tx: _page(tx, wanted, page_size, page_token))


def seen(tx: Transaction, claims: Collection[Claim]) -> tuple[ClaimView, ...]:
    return tuple(ClaimView(claim, tx.claim_leases.get(claim.id)) for claim in claims)


def _page(tx: Transaction, wanted: ClaimFilter, page_size: int, page_token: str) -> Page[ClaimView]:
    page = page_of(_Some(tx, wanted), "claims", page_size, page_token)
    return Page(seen(tx, page.items), page.next_token)


@dataclass(frozen=True, slots=True)
class _Some:
    """The claims that are wanted, as if there were no others."""

    tx: Transaction
    wanted: ClaimFilter

    def page(self, after: str, limit: int) -> Sequence[Claim]:
        found: list[Claim] = []
        size = limit if self.wanted == ClaimFilter() else MAX_SIZE
        while len(found) < limit and (rows := self.tx.claims.page(after, size)):
            found += filter(self.wanted.lets, rows)
            after = rows[-1].id
        return found[:limit]
