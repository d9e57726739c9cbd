"""One error, in the shape that each kind of client looks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from gateway.refusals import GatewayRefusal

_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    431: "request_too_large",
    501: "invalid_request_error",
    503: "overloaded_error",
    504: "timeout_error",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is told of a request that failed, whoever failed it."""

    status: int
    text: str
    remedy: str = ""
    kind: str = "server_error"
    code: str = "internal_error"
    reason: str = "UNAVAILABLE"

    @property
    def words(self) -> str:
        return f"{self.text} {self.remedy}".strip()


@dataclass(frozen=True, slots=True)
class Shape:
    body: Callable[[Fault, str], bytes]
    """Of an error; the second argument is the request's id."""
    content_type: str = "application/json"


def phrase(status: int) -> str:
    """Engines know more statuses than the registry."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def fault_of(refusal: GatewayRefusal) -> Fault:
    return Fault(refusal.status, refusal.text, refusal.remedy, refusal.kind, refusal.code, refusal.reason)


def engine_fault(status: int, body: bytes) -> Fault:
    """What an engine, or the agent in its place, said in OpenAI's shape; else whatever it said."""
    try:
        error = msgspec.json.decode(body, type=_Told).error
    except (msgspec.DecodeError, RecursionError):
        return Fault(status, _plain(body) or phrase(status))
    if isinstance(error, str):
        return Fault(status, error)
    kind, code = error.type or "server_error", error.code
    return Fault(status, error.message, error.remedy, kind, code if isinstance(code, str) else kind)


def _openai_error(fault: Fault, request_id: str) -> bytes:
    del request_id
    error = {"message": fault.text, "type": fault.kind, "code": fault.code, "param": None}
    if fault.remedy:
        error["remedy"] = fault.remedy
    return msgspec.json.encode({"error": error})


def _anthropic_error(fault: Fault, request_id: str) -> bytes:
    error = {"type": _ANTHROPIC.get(fault.status, "api_error"), "message": fault.words}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})


def _ollama_error(fault: Fault, request_id: str) -> bytes:
    del request_id
    return msgspec.json.encode({"error": fault.words})


def _problem(fault: Fault, request_id: str) -> bytes:
    """RFC 7807."""
    found: dict[str, Any] = {
        "type": "about:blank",
        "title": phrase(fault.status),
        "status": fault.status,
        "detail": fault.text,
        "code": fault.reason,
        "trace_id": request_id,
    }
    if fault.remedy:
        found["remedy"] = fault.remedy
    return msgspec.json.encode(found)


OPENAI = Shape(_openai_error)
ANTHROPIC = Shape(_anthropic_error)
OLLAMA = Shape(_ollama_error)
PROBLEM = Shape(_problem, "application/problem+json")


class _Error(msgspec.Struct):
    message: str
    type: str = ""
    code: str | int | None = None
    remedy: str = ""


class _Told(msgspec.Struct):
    error: _Error | str


_SHOWN = 400


def _plain(body: bytes) -> str:
    return body[:_SHOWN].decode("utf-8", "replace").strip()
