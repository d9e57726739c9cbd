"""Ends a call from outside its handler, which grpc keeps in the middle of a write."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import grpc
from grpc_status import rpc_status

from wire.error_status import status_of
from wire.refusal import Refusal

Abort = Callable[[Refusal], Coroutine[Any, Any, None]]


def aborting(context: Any) -> Abort:
    """The status follows what was written, as soon as the peer reads it."""

    async def abort(refusal: Refusal) -> None:
        try:
            await context.abort_with_status(rpc_status.to_status(status_of(refusal)))
        except (grpc.aio.AbortError, grpc.aio.UsageError, grpc.aio.InternalError):
            # AbortError is how grpc says that it did; the others, that the call was over already.
            return

    return abort
