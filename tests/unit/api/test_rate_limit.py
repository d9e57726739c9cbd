from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from control_plane.api.rate_limit import MAX_PEERS, FailedTries, SeatRules, Seats, TryRules, address_of
from control_plane.domain.errors import RateLimited
from tests.fakes.clock import FakeClock


def test_five_failures_of_an_address_are_enough_for_a_minute() -> None:
    clock = FakeClock()
    tries = FailedTries(clock, TryRules())
    for _ in range(5):
        tries.check("10.0.0.1")
        tries.failed("10.0.0.1")
    with pytest.raises(RateLimited):
        tries.check("10.0.0.1")
    tries.check("10.0.0.2")
    clock.advance(timedelta(seconds=60))
    tries.check("10.0.0.1")


def test_a_clock_that_is_set_back_shuts_no_address_out() -> None:
    clock = FakeClock()
    tries = FailedTries(clock, TryRules())
    for _ in range(5):
        tries.failed("10.0.0.1")
    clock.advance(timedelta(hours=-1))
    tries.check("10.0.0.1")


def test_many_addresses_cost_bounded_memory() -> None:
    tries = FailedTries(FakeClock(), TryRules())
    for number in range(MAX_PEERS + 10):
        tries.failed(f"10.0.{number}")
    assert len(tries._failures) == MAX_PEERS


def test_a_network_of_ipv6_is_one_stranger() -> None:
    assert address_of("2001:db8::1") == address_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert address_of("2001:db8:0:1::1") != address_of("2001:db8::1")
    assert address_of("fe80::1%eth0") == "fe80::/64"
    assert address_of("::ffff:10.0.0.1") == address_of("10.0.0.1") == "10.0.0.1"


FEW = SeatRules(seats=3, seats_of_one=2, crowd=6, crowd_of_one=4, patience=timedelta(milliseconds=50))


async def test_one_address_cannot_take_every_seat() -> None:
    seats = Seats(FEW)
    async with seats.taken("a"), seats.taken("a"):
        with pytest.raises(RateLimited):
            async with seats.taken("a"):
                pass
        async with seats.taken("b"):
            with pytest.raises(RateLimited):
                async with seats.taken("c"):
                    pass
    async with seats.taken("a"), seats.taken("c"):
        pass


async def test_who_waits_in_line_gets_the_next_seat() -> None:
    seats = Seats(replace(FEW, patience=timedelta(seconds=10)))
    seated: list[int] = []

    async def visit(number: int) -> None:
        async with seats.taken("a"):
            seated.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(visit(number) for number in range(4)))
    assert seated == [0, 1, 2, 3]


async def test_the_line_itself_is_short_and_shorter_for_one_address() -> None:
    seats = Seats(FEW)

    async def turned_away(address: str) -> float:
        began = asyncio.get_running_loop().time()
        with pytest.raises(RateLimited):
            async with seats.taken(address):
                pass
        return asyncio.get_running_loop().time() - began

    async with seats.taken("a"), seats.taken("a"):
        waited = await asyncio.gather(*(turned_away("a") for _ in range(20)))
    patience = FEW.patience.total_seconds()
    assert sum(seconds >= patience for seconds in waited) == FEW.crowd_of_one - 2
    async with seats.taken("a"):
        pass
