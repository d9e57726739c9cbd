from __future__ import annotations

from datetime import datetime, timedelta


class TokenBucket:
    """Full at first; a token comes back after each `every`."""

    def __init__(self, size: int, every: timedelta, now: datetime) -> None:
        self._size = size
        self._every = every
        self._tokens = float(size)
        self._at = now

    def take(self, now: datetime) -> bool:
        """False when it is empty."""
        self._tokens = min(self._size, self._tokens + max(timedelta(), now - self._at) / self._every)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
