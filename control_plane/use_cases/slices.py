from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import TypeVar

from control_plane.domain.steps import Steps

T = TypeVar("T")

SLICE = timedelta(milliseconds=5)
"""For so long one piece of work may hold the loop."""
PORTION = 200
"""Rows read or written at once by work that lets others have their turn."""


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


def portions(all_: Iterable[T], size: int = PORTION) -> Iterator[Sequence[T]]:
    """All of them, so many at once."""
    left = iter(all_)
    while some := tuple(islice(left, size)):
        yield some
