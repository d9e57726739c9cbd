"""Agents that come all at once are let in a few at a time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from control_plane.domain.errors import RateLimited
from control_plane.sessions.admissions import Admissions
from control_plane.sessions.rules import AdmissionRules, SessionRules
from tests.fakes.hubs import Hubs, PlainAgent

SECOND = timedelta(seconds=1)
FEW = AdmissionRules(at_once=2, line=3, patience=timedelta(milliseconds=20), again_after=5 * SECOND, each=2 * SECOND)
PATIENT = AdmissionRules(at_once=2, line=3, patience=timedelta(hours=1))


async def test_a_few_are_let_in_at_a_time_in_the_order_in_which_they_came() -> None:
    admissions, inside, order = Admissions(PATIENT), [0], list[int]()

    async def come(number: int) -> None:
        async with admissions.turn():
            inside.append(inside[-1] + 1)
            order.append(number)
            await asyncio.sleep(0)
            inside.append(inside[-1] - 1)

    await asyncio.gather(*(come(number) for number in range(5)))
    assert order == [0, 1, 2, 3, 4]
    assert max(inside) == 2


async def turned_away(admissions: Admissions) -> RateLimited:
    with pytest.raises(RateLimited) as refused:
        async with admissions.turn():
            pass
    return refused.value


async def test_who_finds_no_room_in_time_or_in_line_is_turned_away() -> None:
    admissions = Admissions(FEW)
    async with admissions.turn(), admissions.turn():
        refused = await asyncio.gather(*(turned_away(admissions) for _ in range(6)))
    assert {refusal.reason for refusal in refused} == {"RATE_LIMITED"}
    async with admissions.turn(), admissions.turn():
        pass


async def test_those_who_are_turned_away_come_back_over_as_much_time_as_they_are_many() -> None:
    admissions = Admissions(FEW, lambda: 1.0)
    async with admissions.turn(), admissions.turn():
        delays = [refusal.passes_in for refusal in [await turned_away(admissions) for _ in range(4)]]
    assert delays == [10 * SECOND, 10 * SECOND, 11 * SECOND, 13 * SECOND]
    async with admissions.turn(), admissions.turn():
        assert (await turned_away(admissions)).passes_in == 10 * SECOND


async def test_an_agent_that_leaves_the_line_leaves_its_place_in_it() -> None:
    admissions = Admissions(PATIENT)
    async with admissions.turn(), admissions.turn():
        waiting = [asyncio.ensure_future(turned_away(admissions)) for _ in range(3)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        later = asyncio.ensure_future(entered(admissions))
        await asyncio.sleep(0)
    await later


async def entered(admissions: Admissions) -> None:
    async with admissions.turn():
        pass


async def test_an_agent_that_is_turned_away_hears_when_to_come_again_and_is_let_in_then() -> None:
    hubs = Hubs()
    hub = hubs.add("a", SessionRules(admission=AdmissionRules(at_once=1, line=0)))
    await hubs.join("n1", "n2")
    first, second = PlainAgent("n1"), PlainAgent("n2")
    async with hubs.running("a"):
        opened = await asyncio.gather(first.open(hub), second.open(hub), return_exceptions=True)
        assert [type(outcome) for outcome in opened] == [type(None), RateLimited]
        (told,) = second.bodies("refusal")
        assert told.refusal.retry_after.seconds >= 5
        await second.open(hub)
        await first.hang_up()
        await second.hang_up()
