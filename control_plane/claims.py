"""What one replica has to do with claims, wired."""

from __future__ import annotations

from collections.abc import Sequence

from control_plane.api.claim_service import ClaimUseCases
from control_plane.data_path.assembly import ClaimParts
from control_plane.data_path.implicit_claims import Means
from control_plane.data_path.known_waits import KnownWaits
from control_plane.domain.claims.line import Rules
from control_plane.domain.errors import StorageUnavailable
from control_plane.domain.ids import NodeId
from control_plane.ground import Ground
from control_plane.process.chores import Chore
from control_plane.process.clock import EvenClock
from control_plane.sessions.fleet import FleetState
from control_plane.use_cases.claims.acquire_claim import AcquireClaim
from control_plane.use_cases.claims.book import ClaimBook
from control_plane.use_cases.claims.confirm_claims import ConfirmClaims
from control_plane.use_cases.claims.dues import ClaimDues
from control_plane.use_cases.claims.facts import Sight
from control_plane.use_cases.claims.owners import ClaimOwners
from control_plane.use_cases.claims.read_claims import GetClaim, ListClaims
from control_plane.use_cases.claims.release_claim import ReleaseClaim, RevokeClaim
from control_plane.use_cases.claims.renew_claims import RenewClaims
from control_plane.use_cases.claims.settle_claims import SettleClaims
from control_plane.use_cases.claims.waits import ClaimWaits
from control_plane.use_cases.claims.watch_claims import FollowClaim, WatchClaims
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.ports import Store
from control_plane.use_cases.project_book import ProjectBook
from control_plane.use_cases.randomness import SystemRandomness


class Claims:
    """Every replica takes claims and confirms those of its nodes; who leads settles them for all."""

    def __init__(self, on: Ground, mirror: Mirror, fleet: FleetState, projects: ProjectBook) -> None:
        store, self._on, self._clock = on.store, on, EvenClock()
        self._rules = Rules()
        self.book, self._sight = ClaimBook(store), Sight(mirror, fleet)
        self._dues = ClaimDues(store, self.book, self._clock, on.timers.amnesty)
        self._owners = ClaimOwners(self.book, projects)
        self._confirm = ConfirmClaims(store, self._sight, self._clock, self.book)
        self._acked: set[NodeId] = set()
        self._revision: int | None = None
        self.use_cases = self._use_cases()
        self._follow = Chore("claims", self._followed, on.timers.tick)
        self._flush = Chore("renew claims", self.use_cases.renew.flush, on.timers.tick)
        fleet.on_applied(self._heard)

    @property
    def chores(self) -> Sequence[Chore]:
        return (self._follow, self._flush)

    def settling(self, store: Store) -> SettleClaims:
        """`store`: of who leads."""
        return SettleClaims(
            store,
            self._sight,
            self._clock,
            book=self.book,
            dues=self._dues,
            owners=self._owners,
            amnesty=self._on.timers.amnesty,
            rules=self._rules,
        )

    def for_requests(self) -> ClaimParts:
        """What the gateway needs of them."""
        do = self.use_cases
        means = Means(do.acquire, do.renew, do.release, self._sight, self.book)
        return ClaimParts(means, KnownWaits(do.get.waits, self.book), self._clock, SystemRandomness())

    def follow(self, revision: int) -> None:
        """The store is there now; events alone leave its revision as it was."""
        if revision != self._revision:
            self._revision = revision
            self._follow.ring()

    def _use_cases(self) -> ClaimUseCases:
        store, clock, book = self._on.store, self._clock, self.book
        get = GetClaim(store, ClaimWaits(store, self._sight, clock, book, self._rules))
        renew = RenewClaims(store, clock, self._dues)
        return ClaimUseCases(
            acquire=AcquireClaim(store, self._sight, clock, SystemRandomness(), book, self._rules),
            follow=FollowClaim(get, book, renew, clock),
            renew=renew,
            release=ReleaseClaim(store, clock),
            revoke=RevokeClaim(store, clock),
            get=get,
            list=ListClaims(store),
            watch=WatchClaims(store, book),
        )

    async def _followed(self) -> None:
        acked, self._acked = self._acked, set()
        try:
            if await self._confirm(acked):
                # Whoever waits for it hears of it by this look.
                await self.book.look()
        except StorageUnavailable:
            self._acked |= acked
            raise

    def _heard(self, node: NodeId) -> None:
        self._acked.add(node)
        self._follow.ring()
