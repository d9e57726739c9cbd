"""Every refusal that the gateway answers with itself, and its HTTP status.

Refusal
└── GatewayRefusal
    ├── BadRequest, WrongTask, WrongModel 400 · Unauthorized 401 · ProjectDisabled, StaleFence, ClaimForeign 403
    ├── ModelNotFound, PathNotFound, ClaimNotFound 404 · MethodNotAllowed 405
    ├── RequestTimeout 408 · ClaimOver 409 · BodyTooLarge 413 · ShareFull 429 · HeadTooLarge 431
    ├── NoEngine 501
    ├── EngineBroke 502 · NotServing, Loading, NoRoom, NodeOffline, PinNotServing, LineFull 503 · EngineSilent 504
    └── ClaimWaiting, ClaimSuspended, RuntimeClaimed 503
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from wire.refusal import Refusal


class GatewayRefusal(Refusal):
    """`kind` and `code` are the OpenAI error's type and code."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    retry_after: int | None = None
    """Seconds."""
    allow: str = ""
    about_claims: ClassVar[bool] = False
    """It says why a request that was let in before is not any more."""


class BadRequest(GatewayRefusal):
    reason, status, kind, code = "INVALID_ARGUMENT", 400, "invalid_request_error", "invalid_request"


class WrongTask(GatewayRefusal):
    """What was named does something else."""

    reason, status, kind, code = "INVALID_ARGUMENT", 400, "invalid_request_error", "wrong_task"


class NoEngine(WrongTask):
    """What was named does something else, and nothing that is declared does this."""

    status, kind, code = 501, "not_supported_error", "no_engine"


class Unauthorized(GatewayRefusal):
    reason, status, kind, code = "UNAUTHENTICATED", 401, "authentication_error", "invalid_api_key"


class ProjectDisabled(GatewayRefusal):
    """The key is good, and an operator disabled its project."""

    reason, status, kind, code = "PERMISSION_DENIED", 403, "permission_error", "project_disabled"


class StaleFence(GatewayRefusal):
    """The hold of the request ended before it came to its node."""

    reason, status, kind, code = "STALE_FENCE", 403, "permission_error", "stale_fence"


class ModelNotFound(GatewayRefusal):
    reason, status, kind, code = "NOT_FOUND", 404, "not_found_error", "model_not_found"


class PathNotFound(GatewayRefusal):
    reason, status, kind, code = "NOT_FOUND", 404, "not_found_error", "path_not_found"


class MethodNotAllowed(GatewayRefusal):
    reason, status, kind, code = "INVALID_ARGUMENT", 405, "invalid_request_error", "method_not_allowed"

    def __init__(self, text: str, remedy: str = "", *, allow: str = "", **metadata: str) -> None:
        super().__init__(text, remedy, **metadata)
        self.allow = allow


class RequestTimeout(GatewayRefusal):
    reason, status, kind, code = "INVALID_ARGUMENT", 408, "invalid_request_error", "request_timeout"


class BodyTooLarge(GatewayRefusal):
    reason, status, kind, code = "MESSAGE_TOO_LARGE", 413, "invalid_request_error", "body_too_large"


class HeadTooLarge(GatewayRefusal):
    reason, status, kind, code = "MESSAGE_TOO_LARGE", 431, "invalid_request_error", "head_too_large"


class EngineBroke(GatewayRefusal):
    reason, status, kind, code = "UNAVAILABLE", 502, "server_error", "engine_broke"


class NotServing(GatewayRefusal):
    """What was asked for exists but does not serve now; `retry_after` says when to ask again."""

    reason, status, kind, code = "NOT_READY", 503, "unavailable_error", "not_ready"

    def __init__(self, text: str, remedy: str = "", *, retry_after: int | None = 1, **metadata: str) -> None:
        super().__init__(text, remedy, **metadata)
        self.retry_after = retry_after
        self.passes_in = None if retry_after is None else timedelta(seconds=retry_after)


class Loading(NotServing):
    """It is loaded on demand, and not loaded yet: who asks for it waits."""

    code = "loading"

    def __init__(self, text: str, remedy: str = "", *, runtime: str, retry_after: int | None = 1) -> None:
        super().__init__(text, remedy, retry_after=retry_after, runtime=runtime)
        self.runtime = runtime


class NoRoom(NotServing):
    """It would have to be loaded, and no memory is left for it where it may be."""

    reason, code = "MEMORY_INSUFFICIENT", "no_room"


class NodeOffline(NotServing):
    """Where it would serve is not reached now, and nobody knows when it will be."""

    reason, code = "NODE_OFFLINE", "node_offline"


class PinNotServing(NotServing):
    """The caller's project is held to something that does not serve now."""

    code = "pin_not_serving"


class LineFull(NotServing):
    """As many wait for it as may; `retry_after` says when those have gone."""

    reason, code = "RATE_LIMITED", "line_full"


class ShareFull(LineFull):
    """Most of those are the caller's own."""

    status, kind, code = 429, "rate_limit_error", "share_full"


class WrongModel(GatewayRefusal):
    """The claim that was named is not for this model."""

    reason, status, kind, code = "INVALID_ARGUMENT", 400, "invalid_request_error", "wrong_model"


class ClaimForeign(GatewayRefusal):
    reason, status, kind, code = "PERMISSION_DENIED", 403, "permission_error", "claim_foreign"


class ClaimNotFound(GatewayRefusal):
    reason, status, kind, code = "NOT_FOUND", 404, "not_found_error", "claim_not_found"


class ClaimOver(GatewayRefusal):
    """It was given up, expired or was taken away a while ago."""

    reason, status, kind, code = "NOTHING_HELD", 409, "invalid_request_error", "claim_over"
    about_claims = True


class ClaimWaiting(NotServing):
    """It has nothing yet; `retry_after` says when it may."""

    reason, code = "CLAIM_WAITING", "claim_waiting"
    about_claims = True


class ClaimSuspended(NotServing):
    """What it holds does not serve now."""

    reason, code = "CLAIM_SUSPENDED", "claim_suspended"
    about_claims = True


class RuntimeClaimed(NotServing):
    """Whatever serves is taken, alone, by claims of others; `retry_after` says when it may be free."""

    reason, code = "IN_USE", "runtime_claimed"
    about_claims = True


class EngineSilent(GatewayRefusal):
    reason, status, kind, code = "UNAVAILABLE", 504, "server_error", "engine_silent"
