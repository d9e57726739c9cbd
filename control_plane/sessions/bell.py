from __future__ import annotations

import asyncio


class Bell:
    """An asyncio.Event for one who waits. For any number of them, an Event holds 600 bytes, and each stream has one."""

    def __init__(self) -> None:
        self._is_rung = False
        self._waiting: asyncio.Future[None] | None = None

    def ring(self) -> None:
        self._is_rung = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def still(self) -> None:
        self._is_rung = False

    async def rung(self) -> None:
        """Wait until it has rung since it was stilled."""
        if self._is_rung:
            return
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None
