"""Have speech written down by a runtime, through the OpenAI-compatible HTTP port."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from arw_client.asking import Asking, Waiting

PATH = "/v1/audio/transcriptions"


@dataclass(frozen=True, slots=True)
class Recording:
    model: str
    content: bytes
    """A whole sound file; every engine reads 16-bit PCM WAV."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Sent as they are: language, prompt, response_format (json, text, srt, verbose_json, vtt), temperature."""


class Transcriptions(Asking):
    """Recordings and what is said in them."""

    async def transcribe(self, recording: Recording, waiting: Waiting) -> bytes:
        """The whole answer, in the format that was asked for."""
        boundary = secrets.token_hex(16)
        content_type = f"multipart/form-data; boundary={boundary}"
        async with self.answer(PATH, content_type, _form(recording, boundary), waiting) as response:
            return await response.read()


def _form(recording: Recording, boundary: str) -> bytes:
    """The model comes before the file, so that whoever routes the request finds it at once."""
    fields = {"model": recording.model, **recording.options}
    parts = [_part(boundary, f'name="{name}"', value.encode()) for name, value in fields.items()]
    parts.append(_part(boundary, 'name="file"; filename="audio.wav"', recording.content))
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


def _part(boundary: str, names: str, content: bytes) -> bytes:
    return f"--{boundary}\r\ncontent-disposition: form-data; {names}\r\n\r\n".encode() + content + b"\r\n"
