"""What a request wants done, read from as little of its body as routing needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from gateway.dialects import anthropic_request, ollama_request
from gateway.dialects.anthropic_answer import AnthropicTeller
from gateway.dialects.asking import CHAT, COMPLETIONS, EMBEDDINGS, given, read
from gateway.dialects.errors import ANTHROPIC, OLLAMA, PROBLEM, Shape
from gateway.dialects.ollama_answer import Embedding, OllamaTeller, Told
from gateway.dialects.ollama_models import plain
from gateway.dialects.paths import MESSAGES
from gateway.dialects.rendering import PassedOn, Rendering, Translated
from gateway.dialects.tools import Describe, describe_body, described
from gateway.form import extended, field
from gateway.ports import Route, Task
from gateway.refusals import BadRequest
from wire.http_head import Request

TRANSCRIPTIONS = b"/v1/audio/transcriptions"
TRANSLATIONS = b"/v1/audio/translations"
TRANSCRIBE = b"/tools/audio.transcribe"
OLD_EMBEDDINGS = b"/api/embeddings"
COUNT = MESSAGES + b"/count_tokens"

MakeRendering = Callable[[str], Rendering]
"""From the request's id."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What an engine gets. `rendering` None: its answer passes byte for byte."""

    target: bytes
    body: bytes
    rendering: MakeRendering | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """That it serves is all that was asked."""

    value: Any


@dataclass(frozen=True, slots=True)
class Errand:
    """Who is to do it, and what is sent to the one that was found."""

    model: str
    task: Task
    sent: Callable[[Route], Sent | Answered]
    streamed: bool = False


class _Asked(msgspec.Struct):
    """All that is read of a JSON body."""

    model: str | None = None
    stream: bool | None = None


def _passing(task: Task) -> Callable[[Request], Errand]:
    def errand(request: Request) -> Errand:
        asked = read(request.body, _Asked)
        sent = Sent(request.origin_target, request.body)
        return Errand(given(asked.model), task, lambda _: sent, streamed=bool(asked.stream))

    return errand


def speech_errand(request: Request) -> Errand:
    """Engines know one path, and translate when the form says so."""
    form, body = request.header(b"content-type") or b"", request.body
    try:
        model = (field(form, body, b"model") or b"").decode().strip()
    except UnicodeDecodeError:
        raise BadRequest("The field model is no valid UTF-8.", "Encode it as UTF-8.") from None
    name = given(model, "form")
    if request.path == TRANSLATIONS:
        body = extended(form, body, b"translate", b"true")
    sent = Sent(TRANSCRIPTIONS, body, _passed_on(PROBLEM) if request.path == TRANSCRIBE else None)
    return Errand(name, Task.SPEECH, lambda _: sent)


def messages_errand(request: Request) -> Errand:
    """To an engine that speaks the dialect as it is, to any other as a chat."""
    asked = _anthropic_head(request)
    name = given(asked.model)

    def sent(route: Route) -> Sent:
        if Task.MESSAGES in route.tasks:
            return Sent(request.origin_target, request.body, _passed_on(ANTHROPIC))
        chat = anthropic_request.as_chat(read(request.body, anthropic_request.Messages))
        return Sent(CHAT, chat, lambda id_: _told(id_, ANTHROPIC, AnthropicTeller(name, id_)))

    return Errand(name, Task.TEXT, sent, streamed=bool(asked.stream))


def count_errand(request: Request) -> Errand:
    asked = _anthropic_head(request)
    sent = Sent(request.origin_target, request.body, _passed_on(ANTHROPIC))
    return Errand(given(asked.model), Task.COUNT, lambda _: sent)


def _anthropic_head(request: Request) -> anthropic_request.Head:
    asked = read(request.body, anthropic_request.Head)
    if not asked.messages:
        raise BadRequest("The request has no messages.", "Send at least one in 'messages'.")
    return asked


def chat_errand(request: Request) -> Errand:
    asked = read(request.body, ollama_request.Chat)
    name = asked.model = plain(given(asked.model))
    if not asked.messages:
        return _loading(name, Told.CHAT)
    sent = Sent(CHAT, ollama_request.chat_body(asked), lambda id_: _told(id_, OLLAMA, OllamaTeller(name, Told.CHAT)))
    return Errand(name, Task.TEXT, lambda _: sent, streamed=asked.stream is not False)


def generate_errand(request: Request) -> Errand:
    asked = read(request.body, ollama_request.Generate)
    name = asked.model = plain(given(asked.model))
    if not asked.prompt:
        return _loading(name, Told.GENERATE)
    body, target = ollama_request.generate_body(asked), COMPLETIONS if asked.raw else CHAT
    sent = Sent(target, body, lambda id_: _told(id_, OLLAMA, OllamaTeller(name, Told.GENERATE)))
    return Errand(name, Task.TEXT, lambda _: sent, streamed=asked.stream is not False)


def _loading(name: str, told: Told) -> Errand:
    """Ollama's clients ask for nothing to have a model loaded. What serves is."""
    return Errand(name, Task.TEXT, lambda _: Answered(OllamaTeller(name, told).loaded()))


def embed_errand(request: Request) -> Errand:
    asked = read(request.body, ollama_request.Embed)
    name = asked.model = plain(given(asked.model))
    answer = Embedding(name, alone=request.path == OLD_EMBEDDINGS)
    sent = Sent(EMBEDDINGS, ollama_request.embed_body(asked), lambda id_: Translated(id_, OLLAMA, answer.whole))
    return Errand(name, Task.TEXT, lambda _: sent)


def describe_errand(request: Request) -> Errand:
    asked = read(request.body, Describe)
    name = given(asked.model)
    sent = Sent(CHAT, describe_body(asked), lambda id_: Translated(id_, PROBLEM, partial(described, model=name)))
    return Errand(name, Task.VISION, lambda _: sent)


def _told(request_id: str, shape: Shape, teller: AnthropicTeller | OllamaTeller) -> Rendering:
    return Translated(request_id, shape, teller.whole, teller)


def _passed_on(shape: Shape) -> MakeRendering:
    return lambda request_id: PassedOn(request_id, shape)


ERRANDS: Mapping[bytes, Callable[[Request], Errand]] = {
    CHAT: _passing(Task.TEXT),
    COMPLETIONS: _passing(Task.TEXT),
    EMBEDDINGS: _passing(Task.TEXT),
    b"/v1/responses": _passing(Task.RESPONSES),
    b"/v1/rerank": _passing(Task.RERANK),
    b"/v1/audio/speech": _passing(Task.VOICE),
    TRANSCRIPTIONS: speech_errand,
    TRANSLATIONS: speech_errand,
    MESSAGES: messages_errand,
    COUNT: count_errand,
    b"/api/chat": chat_errand,
    b"/api/generate": generate_errand,
    b"/api/embed": embed_errand,
    OLD_EMBEDDINGS: embed_errand,
    TRANSCRIBE: speech_errand,
    b"/tools/vision.describe": describe_errand,
    b"/tools/audio.generate": _passing(Task.VOICE),
}
"""By path; all are POST."""
