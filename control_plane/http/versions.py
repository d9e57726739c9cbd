"""Documents with their entity tags."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from control_plane.http.shapes import Shape

FRESH = timedelta(seconds=30)
"""For so long a document counts as the same while only its ticking members change: half the least TTL of a matrix."""
_TAG_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Version:
    """One taking of a document. Its tag is strong: it names what is told and when it was taken, so the very bytes."""

    body: bytes
    digest: str
    """Of all but the ticking members."""
    taken: datetime

    @property
    def etag(self) -> str:
        return f'"{self.digest}.{_millis(self.taken):x}"'

    def replaces(self, etag: str) -> bool:
        """Whether who has the taking of this tag should have this one."""
        digest, _, taken = etag.removeprefix("W/").strip('"').partition(".")
        try:
            age = _millis(self.taken) - int(taken, 16)
        except ValueError:
            return True
        return digest != self.digest or not 0 <= age <= FRESH // timedelta(milliseconds=1)


def version_of(shape: Shape, now: datetime) -> Version:
    content = msgspec.json.encode(_timeless(shape), order="deterministic")
    return Version(msgspec.json.encode(shape), hashlib.sha256(content).hexdigest()[:_TAG_LENGTH], now)


def matching(header: str, version: Version) -> str:
    """The tag of an If-None-Match that makes a new answer needless; empty: none does."""
    tags = [tag.strip() for tag in header.split(",")]
    if "*" in tags:
        return version.etag
    return next((tag.removeprefix("W/") for tag in tags if not version.replaces(tag)), "")


def _timeless(value: Any) -> Any:
    match value:
        case Shape():
            told = (name for name in value.__struct_fields__ if name not in value.ticking)
            return {name: _timeless(getattr(value, name)) for name in told}
        case dict():
            return {name: _timeless(member) for name, member in value.items()}
        case list():
            return [_timeless(member) for member in value]
        case _:
            return value


def _millis(at: datetime) -> int:
    return int(at.timestamp() * 1000)
