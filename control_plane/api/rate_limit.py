"""How often strangers may try."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

from control_plane.domain.errors import RateLimited
from control_plane.use_cases.ports import Clock

MAX_PEERS = 10_000


@dataclass(frozen=True, slots=True)
class TryRules:
    failures: int = 5
    window: timedelta = timedelta(minutes=1)


class FailedTries:
    """Counts failures by peer address. The address alone counts, not the port."""

    def __init__(self, clock: Clock, rules: TryRules) -> None:
        self._clock = clock
        self._rules = rules
        self._failures: dict[str, deque[datetime]] = {}

    def check(self, peer: str) -> None:
        """RateLimited after too many failures within the window."""
        since = self._clock.now() - self._rules.window
        recent = [at for at in self._failures.get(address_of(peer), ()) if at > since]
        if len(recent) >= self._rules.failures:
            raise RateLimited(
                f"Too many failed tries from this address: {self._rules.failures} within "
                f"{self._rules.window.total_seconds():.0f} s.",
                "Wait a minute, then try again with a new join token.",
            )

    def failed(self, peer: str) -> None:
        if len(self._failures) >= MAX_PEERS:
            # The oldest entries go first: a dict keeps its order.
            del self._failures[next(iter(self._failures))]
        tries = self._failures.setdefault(address_of(peer), deque(maxlen=self._rules.failures))
        tries.append(self._clock.now())


def address_of(peer: str) -> str:
    """The address in grpc's "ipv4:127.0.0.1:5000" or "ipv6:%5B::1%5D:5000"."""
    return peer.rpartition(":")[0]
