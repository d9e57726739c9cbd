from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None], done: Callable[[], None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run `work` beside the block and end it with the block; `done` is called when it ended by itself.

    A task group would cancel the block when the work fails; here that could hit grpc in the middle of a write.
    """
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(lambda _: done())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
