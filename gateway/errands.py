"""What a request wants done, read from as little of its body as routing needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from gateway.form import extended, field
from gateway.ports import Task
from gateway.refusals import BadRequest
from wire.http_head import Request

TRANSCRIPTIONS = b"/v1/audio/transcriptions"
TRANSLATIONS = b"/v1/audio/translations"


@dataclass(frozen=True, slots=True)
class Errand:
    """Who is to do it, and what is sent to them."""

    model: str
    task: Task
    target: bytes
    body: bytes
    streamed: bool = False


class _Asked(msgspec.Struct):
    """All that is read of a JSON body."""

    model: str | None = None
    stream: bool | None = None


def text_errand(request: Request) -> Errand:
    asked = _asked(request.body)
    return Errand(
        _given(asked.model, "request"), Task.TEXT, request.origin_target, request.body, streamed=bool(asked.stream)
    )


def _asked(body: bytes) -> _Asked:
    try:
        if not body.isascii():
            body.decode()
        return msgspec.json.decode(body, type=_Asked)
    except UnicodeDecodeError:
        raise BadRequest("The request body is no valid UTF-8.", "Encode the JSON body as UTF-8.") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"The request body is no valid JSON request: {error}.", "Send a JSON object.") from None


def speech_errand(request: Request) -> Errand:
    """Engines know one path, and translate when the form says so."""
    form, body = request.header(b"content-type") or b"", request.body
    try:
        model = (field(form, body, b"model") or b"").decode().strip()
    except UnicodeDecodeError:
        raise BadRequest("The field model is no valid UTF-8.", "Encode it as UTF-8.") from None
    name = _given(model, "form")
    if request.path == TRANSLATIONS:
        body = extended(form, body, b"translate", b"true")
    return Errand(name, Task.SPEECH, TRANSCRIPTIONS, body)


def _given(model: str | None, where: str) -> str:
    if not model:
        raise BadRequest(f"The {where} names no model.", "Set 'model'; GET /v1/models lists what serves.")
    return model


ERRANDS: dict[bytes, Callable[[Request], Errand]] = {
    b"/v1/chat/completions": text_errand,
    b"/v1/completions": text_errand,
    b"/v1/embeddings": text_errand,
    TRANSCRIPTIONS: speech_errand,
    TRANSLATIONS: speech_errand,
}
"""By path; all are POST."""
