"""Answers that the gateway writes itself: errors in the shape of the path's dialect, RFC 7807 elsewhere."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from gateway.dialects.errors import fault_of
from gateway.dialects.paths import shape_of
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
    shape = shape_of(path)
    body = shape.body(fault_of(refusal), request_id)
    headers = [("content-type", shape.content_type), ("x-request-id", request_id), *_extra_headers(refusal)]
    return _answer(refusal.status, headers, body, close=close)


def answered(value: Any, request_id: str, *, close: bool) -> bytes:
    """A JSON answer with status 200."""
    headers = [("content-type", "application/json"), ("x-request-id", request_id)]
    return _answer(200, headers, msgspec.json.encode(value), close=close)


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
