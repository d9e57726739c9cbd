from __future__ import annotations

from datetime import timedelta

import pytest

from control_plane.api.rate_limit import MAX_PEERS, FailedTries, TryRules, address_of
from control_plane.domain.errors import RateLimited
from tests.fakes.clock import FakeClock


def test_five_failures_of_an_address_are_enough_for_a_minute() -> None:
    clock = FakeClock()
    tries = FailedTries(clock, TryRules())
    for port in range(5):
        tries.check(f"ipv4:10.0.0.1:{port}")
        tries.failed(f"ipv4:10.0.0.1:{port}")
    with pytest.raises(RateLimited):
        tries.check("ipv4:10.0.0.1:99")
    tries.check("ipv4:10.0.0.2:99")
    clock.advance(timedelta(seconds=60))
    tries.check("ipv4:10.0.0.1:99")


def test_many_addresses_cost_bounded_memory() -> None:
    tries = FailedTries(FakeClock(), TryRules())
    for number in range(MAX_PEERS + 10):
        tries.failed(f"ipv4:10.0.{number}:1")
    assert len(tries._failures) == MAX_PEERS


def test_the_port_is_no_part_of_the_address() -> None:
    assert address_of("ipv6:%5B::1%5D:5000") == address_of("ipv6:%5B::1%5D:5001")
