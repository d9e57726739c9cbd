"""Ends a child when the agent that started it is gone, also while it waits in a driver."""

from __future__ import annotations

import os
import sys
import threading


def hold() -> None:
    """The agent holds the other end of standard input and never writes: its end is the agent's."""
    threading.Thread(target=_wait, name="lifeline", daemon=True).start()


def _wait() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    # Nobody is left to read what the main thread may still say, and it may be stuck in a driver's code.
    os._exit(0)
