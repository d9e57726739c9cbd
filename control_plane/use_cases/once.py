"""Request ids: a repeated call is answered, not done again."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

from control_plane.domain.errors import InvalidArgument
from control_plane.use_cases.ports import Transaction


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    request_id: str
    """Empty: the caller does not ask for it."""
    sha256: str


def request(method: str, request_id: str, *parts: object) -> Request:
    """`parts` are everything that the request asks for. InvalidArgument when the id is no UUID."""
    if request_id:
        _checked(request_id)
    return Request(method, request_id, hashlib.sha256(repr(parts).encode()).hexdigest())


def repeated(tx: Transaction, asked: Request) -> bytes | None:
    """The answer given before; None when there is none, or no id."""
    if not asked.request_id:
        return None
    return tx.requests.remembered(asked.method, asked.request_id, asked.sha256)


def remember(tx: Transaction, asked: Request, answer: bytes = b"") -> None:
    if asked.request_id:
        tx.requests.remember(asked.method, asked.request_id, asked.sha256, answer)


def _checked(request_id: str) -> None:
    try:
        uuid.UUID(request_id)
    except ValueError:
        raise InvalidArgument(f"Request id {request_id[:64]!r} is no UUID.", "Send a UUID4, or none.") from None
