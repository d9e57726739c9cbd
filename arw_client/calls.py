"""Service stubs whose failures are ArwErrors, with a deadline and a trace on every call."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from betterproto2 import Message
from betterproto2.grpclib import ServiceStub
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from arw_client import tls
from arw_client.channel import ClosingChannel
from arw_client.context import Context
from arw_client.errors import ArwError, TimedOutError, UnreachableError
from arw_client.status_details import Details
from arw_client.trace import HEADER, Trace

T = TypeVar("T", bound=Message)
DEFAULT_TIMEOUT_S = 10.0
READS = ("Explain", "Export", "Get", "List", "Plan", "Stream", "Watch")
"""How the names of calls begin that change nothing, so that they may be made twice."""
AWAY = {"UNAVAILABLE", "DRAINING", "STORAGE_UNAVAILABLE"}
"""Reasons of one replica that another may not have."""


class Calls(ServiceStub):
    """Base of the services. Unary calls end after `timeout_s`; streams end when the caller leaves.

    A call that was not sent, or that changes nothing and brought nothing yet, goes to the next replica that is known.
    """

    def __init__(self, channel: ClosingChannel, context: Context, trace: Trace, timeout_s: float) -> None:
        super().__init__(channel)
        self._addresses = channel
        self._context = context
        self._trace = trace
        self._timeout_s = timeout_s

    async def _unary_unary(self, route: str, request: Any, response_type: type[T], **options: Any) -> T:
        left = self._others(route)
        while True:
            try:
                with told(self._context):
                    return await super()._unary_unary(route, request, response_type, **self._unary(options))
            except ArwError as error:
                left = self._next(left, error)

    async def _unary_stream(self, route: str, request: Any, response_type: type[T], **options: Any) -> AsyncIterator[T]:
        left = self._others(route)
        while True:
            try:
                with told(self._context):
                    async for message in super()._unary_stream(route, request, response_type, **self._traced(options)):
                        left = 0
                        yield message
                    return
            except ArwError as error:
                left = self._next(left, error)

    def _others(self, route: str) -> int:
        """How many other replicas the call may be made to, once it was sent to one."""
        return self._addresses.others if route.rpartition("/")[2].startswith(READS) else 0

    def _next(self, left: int, error: ArwError) -> int:
        """Turn to the next replica; `error` itself where that would be wrong, or help nothing."""
        # Where no address could be dialled, the channel has tried them all.
        if not left or error.reason not in AWAY or isinstance(error.__cause__, OSError):
            raise error
        self._addresses.turn()
        return left - 1

    def _unary(self, options: dict[str, Any]) -> dict[str, Any]:
        bounded = options.get("timeout") or options.get("deadline")
        return self._traced(options if bounded else {**options, "timeout": self._timeout_s})

    def _traced(self, options: dict[str, Any]) -> dict[str, Any]:
        metadata = dict(options.get("metadata") or {})
        return {**options, "metadata": {HEADER: self._trace.header(), **metadata}}


@contextmanager
def told(context: Context) -> Iterator[None]:
    """Raise what grpclib and the network raise as an ArwError with a remedy."""
    try:
        yield
    except GRPCError as error:
        raise refusal(error, context) from error
    except TimeoutError as error:
        raise late(context) from error
    except ssl.SSLError as error:
        raise untrusted(context, error) from error
    except (OSError, StreamTerminatedError, ProtocolError, asyncio.IncompleteReadError) as error:
        raise unreachable(context, error) from error


def refusal(error: GRPCError, context: Context) -> ArwError:
    details = error.details if isinstance(error.details, Details) else Details()
    if error.status is Status.DEADLINE_EXCEEDED and not details.reason:
        return late(context)
    if error.status is Status.UNIMPLEMENTED:
        return ArwError("UNIMPLEMENTED", "This control plane is older and has no such call.", "Upgrade it.")
    reason = details.reason or error.status.name
    return ArwError(reason, error.message or reason, details.remedy, details.metadata)


def late(context: Context) -> TimedOutError:
    return TimedOutError(
        f"The control plane at {context.grpc_address} did not answer in time.",
        "See whether it is busy or stopped: `arwctl runtime status`, then its log.",
    )


def untrusted(context: Context, error: ssl.SSLError) -> UnreachableError:
    return UnreachableError(
        f"The TLS handshake with {context.grpc_address} failed: {error.reason or error}.",
        "The context file belongs to another control plane, or is from before its authority was rotated: name the "
        "right one with --context or --state-dir, or copy it anew from where the control plane runs.",
    )


def unreachable(context: Context, error: Exception) -> UnreachableError:
    end = tls.expired_at(context)
    if end:
        return UnreachableError(
            f"The certificate in the context file ended at {end:%Y-%m-%d %H:%M} UTC.",
            "Run `arwctl up`: it writes a new context file.",
        )
    if isinstance(error, OSError):
        addresses = " or ".join(dict.fromkeys((context.grpc_address, *context.grpc_addresses)))
        return UnreachableError(f"No control plane answers at {addresses}.", "Start it with `arwctl up`.")
    return UnreachableError(
        f"The control plane at {context.grpc_address} closed the connection.",
        "It is stopping, or it refuses this context's certificate: run `arwctl up`, or name another --context.",
    )
