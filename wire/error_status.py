"""Refusals as gRPC statuses with google.rpc details, and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn, cast

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, LocalizedMessage, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from wire.handlers import Continuation, ManyAnswers, OneAnswer, wrapped
from wire.refusal import Refusal

DOMAIN = "arw.v1"
_Code = grpc.StatusCode

STATUS: Mapping[str, grpc.StatusCode] = {
    "INVALID_ARGUMENT": _Code.INVALID_ARGUMENT,
    "INVALID_ID": _Code.INVALID_ARGUMENT,
    "MANIFEST_INVALID": _Code.INVALID_ARGUMENT,
    "NOT_FOUND": _Code.NOT_FOUND,
    "ALREADY_EXISTS": _Code.ALREADY_EXISTS,
    "ETAG_MISMATCH": _Code.ABORTED,
    "PAGE_TOKEN_INVALID": _Code.INVALID_ARGUMENT,
    "REQUEST_ID_REUSED": _Code.INVALID_ARGUMENT,
    "IN_USE": _Code.FAILED_PRECONDITION,
    "NOTHING_HELD": _Code.FAILED_PRECONDITION,
    "UNAUTHENTICATED": _Code.UNAUTHENTICATED,
    "PERMISSION_DENIED": _Code.PERMISSION_DENIED,
    "CERTIFICATE_EXPIRED": _Code.UNAUTHENTICATED,
    "CERTIFICATE_REVOKED": _Code.PERMISSION_DENIED,
    "CERTIFICATE_NOT_ACTIVE": _Code.PERMISSION_DENIED,
    "CERTIFICATE_UNKNOWN": _Code.UNAUTHENTICATED,
    "TOKEN_INVALID": _Code.UNAUTHENTICATED,
    "TOKEN_USED": _Code.UNAUTHENTICATED,
    "TOKEN_EXPIRED": _Code.UNAUTHENTICATED,
    "APPROVAL_PENDING": _Code.FAILED_PRECONDITION,
    "RATE_LIMITED": _Code.RESOURCE_EXHAUSTED,
    "SESSION_SUPERSEDED": _Code.ABORTED,
    "NODE_MISMATCH": _Code.PERMISSION_DENIED,
    "NODE_QUARANTINED": _Code.PERMISSION_DENIED,
    "PROTOCOL_UNSUPPORTED": _Code.FAILED_PRECONDITION,
    "PROTOCOL_VIOLATION": _Code.INVALID_ARGUMENT,
    "HISTORY_CHANGED": _Code.FAILED_PRECONDITION,
    "STALE_REVISION": _Code.FAILED_PRECONDITION,
    "REMOVAL_GUARD": _Code.FAILED_PRECONDITION,
    "DRAINING": _Code.UNAVAILABLE,
    "STORAGE_UNAVAILABLE": _Code.UNAVAILABLE,
    "MESSAGE_TOO_LARGE": _Code.RESOURCE_EXHAUSTED,
    "SPEC_INVALID": _Code.INVALID_ARGUMENT,
    "ADAPTER_UNKNOWN": _Code.FAILED_PRECONDITION,
    "MODEL_FILE_MISSING": _Code.FAILED_PRECONDITION,
    "MODEL_FILE_INVALID": _Code.FAILED_PRECONDITION,
    "MODEL_DIGEST_MISMATCH": _Code.FAILED_PRECONDITION,
    "ENGINE_NOT_FOUND": _Code.FAILED_PRECONDITION,
    "ENGINE_NOT_TRUSTED": _Code.FAILED_PRECONDITION,
    "ENGINE_FLAG_UNKNOWN": _Code.FAILED_PRECONDITION,
    "ACCELERATOR_MISSING": _Code.FAILED_PRECONDITION,
    "EXECUTION_MODE_UNAVAILABLE": _Code.FAILED_PRECONDITION,
    "LOCAL_POLICY_DENIED": _Code.PERMISSION_DENIED,
    "STALE_FENCE": _Code.PERMISSION_DENIED,
    "ENGINE_EXITED": _Code.UNAVAILABLE,
    "ENGINE_EXITED_BEFORE_READY": _Code.UNAVAILABLE,
    "START_DEADLINE_EXCEEDED": _Code.DEADLINE_EXCEEDED,
    "PROBES_FAILED": _Code.UNAVAILABLE,
    "NO_PROGRESS": _Code.UNAVAILABLE,
    "UNKILLABLE": _Code.UNAVAILABLE,
    "ACCELERATOR_LEAKING": _Code.FAILED_PRECONDITION,
    "AGENT_SAFE_MODE": _Code.UNAVAILABLE,
    "DISK_PRESSURE": _Code.UNAVAILABLE,
    # Not RESOURCE_EXHAUSTED's usual meaning, but what the HTTP mapping of the seeds (429) asks for.
    "RESTART_BUDGET_EXHAUSTED": _Code.RESOURCE_EXHAUSTED,
    "SPAWN_FAILED": _Code.UNAVAILABLE,
    "PORT_UNAVAILABLE": _Code.UNAVAILABLE,
    "MEMORY_INSUFFICIENT": _Code.RESOURCE_EXHAUSTED,
    "ENGINE_IDENTITY_MISMATCH": _Code.FAILED_PRECONDITION,
    "NO_NODE": _Code.FAILED_PRECONDITION,
    "NODE_OFFLINE": _Code.UNAVAILABLE,
    "UNSCHEDULABLE": _Code.FAILED_PRECONDITION,
    "REPLICA_THERE": _Code.FAILED_PRECONDITION,
    "NODE_FULL": _Code.RESOURCE_EXHAUSTED,
    "LABELS_UNMATCHED": _Code.FAILED_PRECONDITION,
    "NOT_READY": _Code.UNAVAILABLE,
    "SHUT_DOWN": _Code.FAILED_PRECONDITION,
    "ACCELERATOR_DRIVER_MISSING": _Code.FAILED_PRECONDITION,
    "ACCELERATOR_DRIVER_UNRESPONSIVE": _Code.UNAVAILABLE,
    "ACCELERATOR_DRIVER_MISMATCH": _Code.FAILED_PRECONDITION,
    "ACCELERATOR_NO_PERMISSION": _Code.FAILED_PRECONDITION,
    "ACCELERATOR_LOST": _Code.UNAVAILABLE,
    "ACCELERATOR_RESET_REQUIRED": _Code.UNAVAILABLE,
    "ACCELERATOR_UNHEALTHY": _Code.UNAVAILABLE,
    "ACCELERATOR_RESERVED": _Code.FAILED_PRECONDITION,
    "CONTEXT_INSUFFICIENT": _Code.FAILED_PRECONDITION,
    "FEATURE_MISSING": _Code.FAILED_PRECONDITION,
    "MODALITY_MISSING": _Code.FAILED_PRECONDITION,
    "THROUGHPUT_UNKNOWN": _Code.FAILED_PRECONDITION,
    "THROUGHPUT_INSUFFICIENT": _Code.FAILED_PRECONDITION,
    "PREEMPTED": _Code.ABORTED,
    "CLAIM_REVOKED": _Code.ABORTED,
    "CLAIM_WAITING": _Code.FAILED_PRECONDITION,
    "CLAIM_SUSPENDED": _Code.UNAVAILABLE,
    "PROJECT_DISABLED": _Code.PERMISSION_DENIED,
    "UNAVAILABLE": _Code.UNAVAILABLE,
    "INTERNAL": _Code.INTERNAL,
}

RETRY_AFTER: Mapping[str, timedelta] = {"STORAGE_UNAVAILABLE": timedelta(seconds=1)}
"""What passes by itself, and when to ask again."""

_log = structlog.get_logger()


class RemoteRefusal(Refusal):
    """A refusal as it arrived; `remote_reason` is the peer's word, or the status when it gave none."""

    def __init__(self, code: grpc.StatusCode, reason: str, text: str, remedy: str, metadata: Mapping[str, str]) -> None:
        super().__init__(text, remedy, **metadata)
        self.code = code
        self.remote_reason = reason


def status_of(refusal: Refusal) -> Status:
    """The google.rpc.Status that carries a refusal: ErrorInfo, the remedy for a person, RetryInfo where it passes."""
    details: list[Message] = [ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=dict(refusal.metadata))]
    if refusal.remedy:
        details.append(LocalizedMessage(locale="en", message=refusal.remedy))
    if (delay := refusal.passes_in or RETRY_AFTER.get(refusal.reason)) is not None:
        details.append(RetryInfo(retry_delay=Duration(seconds=delay // timedelta(seconds=1))))
    status = Status(code=STATUS[refusal.reason].value[0], message=refusal.text)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def refusal_of(error: grpc.aio.AioRpcError) -> RemoteRefusal:
    """What the peer refused, with the transport's own words when it said nothing typed."""
    status = rpc_status.from_call(cast("grpc.Call", error))
    info, remedy = ErrorInfo(), LocalizedMessage()
    for detail in status.details if status else ():
        detail.Unpack(info)
        detail.Unpack(remedy)
    reason = info.reason or error.code().name
    return RemoteRefusal(error.code(), reason, error.details() or reason, remedy.message, dict(info.metadata))


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns refusals into statuses. Anything else is logged once and told as an internal error, without its text."""

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        return wrapped(handler, partial(_answering, method), partial(_streaming, method))


def _answering(method: str, behaviour: OneAnswer) -> OneAnswer:
    async def answer(request: Any, context: Any) -> Any:
        try:
            return await behaviour(request, context)
        except Exception as error:  # noqa: BLE001 - the one place where every failure of a call ends
            await _abort(error, context, method)

    return answer


def _streaming(method: str, behaviour: ManyAnswers) -> ManyAnswers:
    async def stream(request: Any, context: Any) -> Any:
        try:
            async for message in behaviour(request, context):
                yield message
        except Exception as error:  # noqa: BLE001 - as above, for streams
            await _abort(error, context, method)

    return stream


async def _abort(error: Exception, context: Any, method: str) -> NoReturn:
    # AbortError is how grpc itself ends a call that was already refused.
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, Refusal):
        refusal = error
    else:
        _log.error("call_failed", method=method, exc_info=error)
        refusal = Refusal(
            "The control plane failed to answer; its log says why.", "Try again; see the log if it stays."
        )
    await context.abort_with_status(rpc_status.to_status(status_of(refusal)))
    raise AssertionError("abort_with_status returned")
