"""Answers that the gateway writes itself: OpenAI's error shape under /v1/, RFC 7807 elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from gateway.ports import ServedModel
from gateway.refusals import (
    BadRequest,
    BodyTooLarge,
    GatewayRefusal,
    HeadTooLarge,
    MethodNotAllowed,
    RequestTimeout,
)
from wire.http_head import HttpFault, response_bytes

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_AFTER_FAULT: dict[int, tuple[type[GatewayRefusal], str]] = {
    405: (MethodNotAllowed, "Send the request itself to this address."),
    408: (RequestTimeout, "Send the whole request without long pauses."),
    413: (BodyTooLarge, "Send a smaller request."),
    431: (HeadTooLarge, "Send fewer or shorter headers."),
}


class RefusedEarly(HttpFault):
    """A request refused by its head alone: its body is not read."""

    def __init__(self, refusal: GatewayRefusal) -> None:
        super().__init__(refusal.status, refusal.text)
        self.refusal = refusal


def refusal_of(fault: HttpFault) -> GatewayRefusal:
    if isinstance(fault, RefusedEarly):
        return fault.refusal
    kind, remedy = _AFTER_FAULT.get(fault.status, (BadRequest, "Check what the client sends."))
    return kind(fault.text, remedy)


def refused(path: bytes, refusal: GatewayRefusal, request_id: str, *, close: bool) -> bytes:
    """The answer to a request for `path` that is refused."""
    if path.startswith(b"/v1/") or path == b"/v1":
        body, content_type = _openai_error(refusal), "application/json"
    else:
        body, content_type = _problem(refusal, request_id), "application/problem+json"
    headers = [("content-type", content_type), ("x-request-id", request_id), *_extra_headers(refusal)]
    return _answer(refusal.status, headers, body, close=close)


def answered(value: Any, request_id: str, *, close: bool) -> bytes:
    """A JSON answer with status 200."""
    headers = [("content-type", "application/json"), ("x-request-id", request_id)]
    return _answer(200, headers, msgspec.json.encode(value), close=close)


def model_list(models: Sequence[ServedModel]) -> dict[str, Any]:
    return {"object": "list", "data": [model_entry(model) for model in models]}


def model_entry(model: ServedModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "arw",
        "model": model.model,
        "node": model.node,
    }


def _answer(status: int, headers: list[tuple[str, str]], body: bytes, *, close: bool) -> bytes:
    if close:
        headers.append(("connection", "close"))
    return response_bytes(status, HTTPStatus(status).phrase, headers, body)


def _extra_headers(refusal: GatewayRefusal) -> list[tuple[str, str]]:
    headers = []
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        headers.append(("www-authenticate", 'Bearer realm="arw"'))
    if refusal.retry_after is not None:
        headers.append(("retry-after", str(refusal.retry_after)))
    if refusal.allow:
        headers.append(("allow", refusal.allow))
    return headers


def _openai_error(refusal: GatewayRefusal) -> bytes:
    error = {"message": refusal.text, "type": refusal.kind, "code": refusal.code, "param": None}
    if refusal.remedy:
        error["remedy"] = refusal.remedy
    return msgspec.json.encode({"error": error})


def _problem(refusal: GatewayRefusal, request_id: str) -> bytes:
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "detail": refusal.text,
        "code": refusal.reason,
        "trace_id": request_id,
    }
    if refusal.remedy:
        problem["remedy"] = refusal.remedy
    return msgspec.json.encode(problem)
