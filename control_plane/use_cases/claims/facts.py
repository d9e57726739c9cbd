"""Joining claims with what is known of runtimes and nodes. Only on the loop: the fleet lives there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from control_plane.domain.claims.claim import Claim, Held
from control_plane.domain.claims.holds import settled
from control_plane.domain.claims.offers import Offer, names_of
from control_plane.domain.claims.steps import Facts
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.runtime import Runtime
from control_plane.use_cases.mirror import Changed, Mirror
from control_plane.use_cases.ports import Fleet


class Sight:
    """What is known of what claims may mean. One for all who ask; only on the loop."""

    def __init__(self, mirror: Mirror, fleet: Fleet) -> None:
        self.mirror = mirror
        self.fleet = fleet
        self._names: dict[RuntimeId, tuple[str, ...]] = {}
        self._named: dict[str, set[RuntimeId]] = defaultdict(set)
        self._heard(Changed(runtimes=frozenset(mirror.runtimes)))
        mirror.on_change(self._heard)

    def offer(self, runtime: Runtime, now: datetime) -> Offer:
        """As it is now: what its node says has left it has left it."""
        if runtime.node is None:
            return Offer(runtime)
        current = settled(runtime, self.applied(runtime.node), now)
        return Offer(current, self.fleet.instance(runtime.node, runtime.id))

    def offers(self, claims: Iterable[Claim], now: datetime) -> Iterator[Offer]:
        """Of the runtimes that the claims may mean."""
        tags = {wanted.model_tag for claim in claims for wanted in claim.order.alternatives}
        for runtime in sorted({runtime for tag in tags for runtime in self._named.get(tag, ())}):
            yield self.offer(self.mirror.runtimes[runtime], now)

    def applied(self, node: NodeId | None) -> int:
        """The revision that the node has applied."""
        return self.fleet.liveness(node).applied_revision if node else 0

    def _heard(self, changed: Changed) -> None:
        for runtime in changed.runtimes:
            row = self.mirror.runtimes.get(runtime)
            names = names_of(row) if row is not None else ()
            if names == self._names.get(runtime, ()):
                continue
            for name in self._names.pop(runtime, ()):
                self._named[name].discard(runtime)
            for name in names:
                self._named[name].add(runtime)
            self._names[runtime] = names

    def facts(self, held: Held | None, facts: Facts) -> Facts:
        """`facts` without what is seen of a hold, filled in."""
        runtime = self.mirror.runtimes.get(held.runtime) if held else None
        if held is None or runtime is None:
            return facts
        offer, online = self.offer(runtime, facts.now), self.fleet.liveness(held.node).online
        return replace(facts, offer=offer, online=online, applied=self.applied(held.node))


def rivals(claim: Claim, waiting: Iterable[Claim], offers: Iterable[Offer]) -> list[Claim]:
    """Those who wait for what the claim may mean, itself aside."""
    names = {name for offer in offers for name in names_of(offer.runtime)}
    others = (other for other in waiting if other.id != claim.id)
    return [one for one in others if any(wanted.model_tag in names for wanted in one.order.alternatives)]
