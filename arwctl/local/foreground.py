"""Staying in the terminal: events are printed, and Ctrl-C stops everything."""

from __future__ import annotations

import asyncio
import signal

from arw_client import UnreachableError
from arw_client import messages as m
from arwctl.command import Call
from arwctl.groups.events import print_event
from arwctl.local.down import down
from arwctl.local.machine import Machine
from arwctl.plain import one_line

RETRY_S = 1.0


async def stay(call: Call) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    call.screen.note("Ctrl-C stops everything.")
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(_follow(call, stop))
        await stop.wait()
        following.cancel()
    await down(call)


async def _follow(call: Call, stop: asyncio.Event) -> None:
    """Print events until the control plane is gone for good."""
    machine, seen = Machine(call.state_dir, call.context_file), 0
    while machine.control_plane.running:
        try:
            async with call.client() as client:
                async for answer in client.state.watch_events(m.WatchEventsRequest(after_id=seen or None)):
                    event = answer.event or m.Event()
                    seen = event.id
                    print_event(call.screen, event)
        except UnreachableError as error:
            call.screen.note(one_line(error.text))
        await asyncio.sleep(RETRY_S)
    call.screen.note("control plane: ended")
    stop.set()
