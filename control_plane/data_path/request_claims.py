"""Under which claim a request passes: the one that it names, its project's, or none."""

from __future__ import annotations

from collections.abc import Sequence

from control_plane.data_path.implicit_claims import ImplicitClaims
from control_plane.data_path.known_waits import KnownWaits
from control_plane.data_path.named_claims import NamedClaims, seconds_until
from control_plane.domain.claims.holds import is_taken_alone
from control_plane.domain.runtime import Runtime
from control_plane.domain.view import RuntimeView
from control_plane.use_cases.claims.book import ClaimBook
from control_plane.use_cases.ports import Clock
from gateway.refusals import RuntimeClaimed

_LATER_SECONDS = 10


class RequestClaims:
    """Never blocks."""

    def __init__(self, book: ClaimBook, implicit: ImplicitClaims, waits: KnownWaits, clock: Clock) -> None:
        self._book = book
        self._implicit = implicit
        self._waits = waits
        self._clock = clock
        self._named = NamedClaims(book, waits, clock)
        self.granted = self._named.granted
        self.take = implicit.take
        self.left = implicit.left

    def open_to(self, project: str, serving: Sequence[RuntimeView]) -> Sequence[RuntimeView]:
        """Those that nobody has alone, at least one; RuntimeClaimed. `project` empty: an operator asks."""
        free = [view for view in serving if not is_taken_alone(view.runtime)]
        if not free:
            raise self._claimed(project, serving[0].runtime)
        return free

    def _claimed(self, project: str, runtime: Runtime) -> RuntimeClaimed:
        """Who has a project stands in line from now on."""
        (hold,) = runtime.holds.live
        claim = self._book.claims.get(hold.claim)
        if project and claim is not None and claim.project == project:
            remedy = f"Send it with the request: 'X-ARW-Claim: {claim.id}'."
            return RuntimeClaimed(f"{runtime.id} is held by claim {claim.id} of this project, alone.", remedy)
        place = self._implicit.waiting(project, runtime) if project else None
        wait = self._waits.of(place) if place else None
        eta = (wait.eta if wait else None) or hold.until
        left = seconds_until(eta, self._clock.now()) if eta else _LATER_SECONDS
        when = f" It may be free at {eta:%H:%M:%SZ}." if eta else ""
        text = f"{runtime.id} is held by a claim of another project, alone.{when}"
        return RuntimeClaimed(text, "Try again then, or claim it: arwctl claim acquire.", retry_after=left)
