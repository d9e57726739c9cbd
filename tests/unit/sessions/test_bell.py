from __future__ import annotations

import asyncio

import pytest

from control_plane.sessions.bell import Bell


async def test_a_bell_that_rang_before_anyone_waited_is_heard_until_it_is_stilled() -> None:
    bell = Bell()
    bell.ring()
    await bell.rung()
    bell.still()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await bell.rung()


async def test_a_bell_wakes_who_waits_however_often_it_rings() -> None:
    bell = Bell()
    async with asyncio.TaskGroup() as tasks:
        waits = tasks.create_task(bell.rung())
        await asyncio.sleep(0)
        bell.ring()
        bell.ring()
    assert waits.done()


async def test_who_was_cancelled_while_waiting_leaves_a_bell_that_works() -> None:
    bell = Bell()
    waits = asyncio.create_task(bell.rung())
    await asyncio.sleep(0)
    waits.cancel()
    await asyncio.wait({waits})
    bell.ring()
    await bell.rung()
