"""Pages of a list, and the opaque token that asks for the next one."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from control_plane.domain.errors import PageTokenInvalid

T = TypeVar("T")

DEFAULT_SIZE = 100
MAX_SIZE = 1000


class Named(Protocol):
    @property
    def id(self) -> str: ...


Row = TypeVar("Row", bound=Named)
Row_co = TypeVar("Row_co", bound=Named, covariant=True)


class Paged(Protocol[Row_co]):
    """The part of a table that a list reads."""

    def page(self, after: str, limit: int) -> Sequence[Row_co]: ...


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    items: tuple[T, ...]
    next_token: str = ""
    """Empty on the last page."""


def size_of(asked: int) -> int:
    return min(asked or DEFAULT_SIZE, MAX_SIZE)


def page_of(table: Paged[Row], collection: str, page_size: int, page_token: str) -> Page[Row]:
    """One page in id order; a token counts only for the collection that gave it."""
    size = size_of(page_size)
    rows: Sequence[Row] = table.page(_after(collection, page_token), size + 1)
    more = _token(collection, rows[size - 1].id) if len(rows) > size else ""
    return Page(tuple(rows[:size]), more)


def _token(collection: str, last: str) -> str:
    return base64.urlsafe_b64encode(f"{collection}:{last}".encode()).decode().rstrip("=")


def _after(collection: str, token: str) -> str:
    if not token:
        return ""
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars="-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    if not text.startswith(f"{collection}:"):
        raise PageTokenInvalid("This page token is not one of this list.", "Begin again without a page token.")
    return text.removeprefix(f"{collection}:")
