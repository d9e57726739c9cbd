"""Every refusal that the gateway answers with itself, and its HTTP status.

Refusal
└── GatewayRefusal
    ├── BadRequest, WrongTask 400 · Unauthorized 401 · ProjectDisabled 403
    ├── ModelNotFound, PathNotFound 404 · MethodNotAllowed 405
    ├── RequestTimeout 408 · BodyTooLarge 413 · HeadTooLarge 431
    ├── NoEngine 501
    └── EngineBroke 502 · NotServing, NodeOffline, PinNotServing 503 · EngineSilent 504
"""

from __future__ import annotations

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


class NodeOffline(NotServing):
    """Where it would serve is not reached now, and nobody knows when it will be."""

    reason, code = "NODE_OFFLINE", "node_offline"


class PinNotServing(NotServing):
    """The caller's project is held to something that does not serve now."""

    code = "pin_not_serving"


class EngineSilent(GatewayRefusal):
    reason, status, kind, code = "UNAVAILABLE", 504, "server_error", "engine_silent"
