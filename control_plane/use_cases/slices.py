from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TypeVar

from control_plane.domain.steps import Steps

T = TypeVar("T")

SLICE = timedelta(milliseconds=5)
"""For so long one piece of work may hold the loop."""


async def in_slices(steps: Steps[T], slice_: timedelta = SLICE) -> T:
    """What comes of it; the others on the loop have their turn after each slice."""
    while True:
        end = time.monotonic() + slice_.total_seconds()
        try:
            next(steps)
            while time.monotonic() < end:
                next(steps)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        await asyncio.sleep(0)
