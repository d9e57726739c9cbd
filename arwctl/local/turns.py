"""Who starts or stops this machine does so alone."""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from arw_client import ArwError, TimedOutError
from arwctl.local.process import until
from arwctl.screen import Screen

PATIENCE_S = 60.0


@asynccontextmanager
async def turn(state_dir: Path, screen: Screen) -> AsyncIterator[None]:
    """Wait until nobody else starts what belongs to this state directory. The system ends the turn of whoever dies."""
    handle = _opened(state_dir / "up.lock")
    try:
        if not _taken(handle):
            screen.note("another `arwctl up` starts this machine: waiting for it")
            if not await until(lambda: _taken(handle), PATIENCE_S):
                raise TimedOutError(
                    f"Another `arwctl up` did not end within {PATIENCE_S:g} s.",
                    "Look at what it says, end it, and try again.",
                )
        yield
    finally:
        os.close(handle)


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ArwError(
            "FAILED_PRECONDITION",
            f"{path} cannot be made: {error.strerror}.",
            "Choose a state directory that may be written: --state-dir DIR, or ARW_STATE_DIR.",
        ) from error


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
