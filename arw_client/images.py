"""Pictures that go into a chat."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from arw_client.errors import ArwError

_RIFF_HEAD = 8
"""Bytes of a RIFF file before the name of its form."""


@dataclass(frozen=True, slots=True)
class Image:
    media_type: str
    content: bytes

    @classmethod
    def of(cls, content: bytes, name: str) -> Image:
        """Known by its first bytes, whatever `name` ends with. ArwError when it is no PNG, JPEG or WebP."""
        return cls(_media_type(content, name), content)

    @property
    def data_uri(self) -> str:
        return f"data:{self.media_type};base64,{base64.b64encode(self.content).decode()}"


def question(text: str, images: Sequence[Image] = ()) -> Mapping[str, object]:
    """A user's message: plain text, or pictures and then the text."""
    if not images:
        return {"role": "user", "content": text}
    pictures = [{"type": "image_url", "image_url": {"url": image.data_uri}} for image in images]
    return {"role": "user", "content": [*pictures, {"type": "text", "text": text}]}


def _media_type(content: bytes, name: str) -> str:
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith(b"RIFF") and content.startswith(b"WEBP", _RIFF_HEAD):
        return "image/webp"
    raise ArwError("INVALID_ARGUMENT", f"{name} is no picture that can be sent.", "Name a PNG, JPEG or WebP file.")
