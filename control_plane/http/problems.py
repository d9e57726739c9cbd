"""Errors as RFC 7807 problems."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from wire.refusal import Refusal

_log = structlog.get_logger()
_STATUS = {
    "INVALID_ARGUMENT": 400,
    "INVALID_ID": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "REQUEST_ID_REUSED": 409,
    "RESTART_BUDGET_EXHAUSTED": 429,
    "RATE_LIMITED": 429,
    "STORAGE_UNAVAILABLE": 503,
    "UNAVAILABLE": 503,
}
_UNEXPECTED = 500
PROBLEM = "application/problem+json"
UNAUTHORIZED = "Send the token of your context file as 'Authorization: Bearer ID.SECRET'."


def problem_shape(
    status: int, detail: str = "", *, remedy: str = "", code: str = "", trace_id: str = ""
) -> dict[str, Any]:
    """The members of a problem; empty ones are left out."""
    optional = {"detail": detail, "remedy": remedy, "code": code, "trace_id": trace_id}
    members: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return members | {name: value for name, value in optional.items() if value}


def problem(status: int, detail: str = "", *, headers: dict[str, str] | None = None, **optional: str) -> Response:
    members = problem_shape(status, detail, **optional)
    return Response(msgspec.json.encode(members), status, headers, media_type=PROBLEM)


def refusal_shape(refusal: Refusal, trace_id: str) -> dict[str, Any]:
    status = _STATUS.get(refusal.reason, _UNEXPECTED)
    if status == _UNEXPECTED:
        _log.error("http_refusal_unexpected", reason=refusal.reason, trace_id=trace_id)
    return problem_shape(status, refusal.text, remedy=refusal.remedy, code=refusal.reason, trace_id=trace_id)


async def refused(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)  # noqa: S101 - registered for nothing else
    members = refusal_shape(refusal, trace_id(request))
    return Response(msgspec.json.encode(members), members["status"], media_type=PROBLEM)


async def failed(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    return problem(error.status_code, trace_id=trace_id(request), headers=dict(error.headers or {}))


async def broken(request: Request, error: Exception) -> Response:
    _log.error("http_failed", path=request.url.path, exc_info=error)
    return problem(_UNEXPECTED, trace_id=trace_id(request))


def trace_id(request: Request) -> str:
    """The gateway passes one with each request."""
    return request.headers.get("x-request-id", "")
