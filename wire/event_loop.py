"""The event loop of a serving process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

HAND_OVER_SECONDS = 0.0005
"""A thread that computes keeps the loop waiting no longer: a change of desired state goes to threads and back five
times, and with Python's own 5 ms each way may cost as much."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end on uvloop, which halves the cost of a pumped byte, or on the standard loop where it is missing."""
    sys.setswitchinterval(HAND_OVER_SECONDS)
    with asyncio.Runner(loop_factory=_factory()) as runner:
        return runner.run(main)


def _factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    found: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return found
