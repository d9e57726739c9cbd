"""How often strangers may try, and how many of them at once. One address is one stranger."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

from control_plane.domain.errors import RateLimited
from control_plane.use_cases.ports import Clock

MAX_PEERS = 10_000
_IPV6_NETWORK = 64
"""Bits that one machine cannot choose: it has all the addresses below them."""


@dataclass(frozen=True, slots=True)
class TryRules:
    failures: int = 5
    window: timedelta = timedelta(minutes=1)


class FailedTries:
    """Counts failures by address, as `address_of` gives it."""

    def __init__(self, clock: Clock, rules: TryRules) -> None:
        self._clock = clock
        self._rules = rules
        self._failures: dict[str, deque[datetime]] = {}

    def check(self, address: str) -> None:
        """RateLimited after too many failures within the window."""
        now = self._clock.now()
        # What lies ahead is from before the clock was set back.
        recent = [at for at in self._failures.get(address, ()) if timedelta() <= now - at < self._rules.window]
        if len(recent) >= self._rules.failures:
            raise RateLimited(
                f"Too many failed tries from this address: {self._rules.failures} within "
                f"{self._rules.window.total_seconds():.0f} s.",
                "Wait a minute, then try again with a new join token.",
            )

    def failed(self, address: str) -> None:
        if len(self._failures) >= MAX_PEERS:
            # The oldest entries go first: a dict keeps its order.
            del self._failures[next(iter(self._failures))]
        tries = self._failures.setdefault(address, deque(maxlen=self._rules.failures))
        tries.append(self._clock.now())


@dataclass(frozen=True, slots=True)
class SeatRules:
    seats: int = 128
    seats_of_one: int = 16
    crowd: int = 1024
    """With those who wait for a seat."""
    crowd_of_one: int = 256
    patience: timedelta = timedelta(seconds=5)
    """How long one waits."""


class Seats:
    """Few at once, fewer of one address. Who finds no seat waits in line for a while."""

    def __init__(self, rules: SeatRules) -> None:
        self._rules = rules
        self._all = asyncio.Semaphore(rules.seats)
        # Kept alive by those who sit or wait.
        self._of_one: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._crowd: Counter[str] = Counter()

    @asynccontextmanager
    async def taken(self, address: str) -> AsyncIterator[None]:
        """RateLimited when the line is too long, or no seat became free in time."""
        own = self._of_one.setdefault(address, asyncio.Semaphore(self._rules.seats_of_one))
        with self._present(address):
            async with AsyncExitStack() as seat:
                try:
                    async with asyncio.timeout(self._rules.patience.total_seconds()):
                        await seat.enter_async_context(own)
                        await seat.enter_async_context(self._all)
                except TimeoutError:
                    raise _crowded() from None
                yield

    @contextmanager
    def _present(self, address: str) -> Iterator[None]:
        if self._crowd.total() >= self._rules.crowd or self._crowd[address] >= self._rules.crowd_of_one:
            raise _crowded()
        self._crowd[address] += 1
        try:
            yield
        finally:
            self._crowd -= Counter((address,))


def address_of(host: str) -> str:
    """What of an IP address stands for one stranger: of IPv6, its network."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((int(address), _IPV6_NETWORK), strict=False))
    return str(address)


def _crowded() -> RateLimited:
    return RateLimited("Too many connections from this address.", "Try again in some seconds.")
