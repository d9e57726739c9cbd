"""What is read of a chat completion, whole or a piece of a stream: OpenAI's own fields, and llama.cpp's timings."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from gateway.refusals import EngineBroke

Found = TypeVar("Found")


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: Function = msgspec.field(default_factory=Function)


class Message(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(msgspec.Struct):
    delta: Message | None = None
    message: Message | None = None
    text: str | None = None
    """Of a completion that is no chat."""
    finish_reason: str | None = None

    @property
    def said(self) -> Message:
        return self.delta or self.message or Message(self.text)


class Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = None


class Timings(msgspec.Struct):
    prompt_ms: float = 0
    predicted_ms: float = 0


class Completion(msgspec.Struct):
    choices: list[Choice] = []
    usage: Usage | None = None
    timings: Timings | None = None
    error: Any = None
    """An engine may break off a stream with it."""

    @property
    def first(self) -> Choice | None:
        return self.choices[0] if self.choices else None


_decoder = msgspec.json.Decoder(Completion)


def completion(text: bytes) -> Completion:
    """EngineBroke when it is none."""
    return decoded(text, _decoder)


def chosen(body: bytes) -> tuple[Completion, Choice]:
    """A whole one, and its first choice; EngineBroke when it has none."""
    said = completion(body)
    if said.first is None:
        raise EngineBroke("The engine's answer has no choice.", "Look at the runtime's log.")
    return said, said.first


def decoded(text: bytes, decoder: msgspec.json.Decoder[Found]) -> Found:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise EngineBroke("The engine's answer cannot be read.", "Look at the runtime's log.") from None


def arguments(call: ToolCall) -> Any:
    """A tool call's arguments as a value; EngineBroke when they are no JSON."""
    return decoded((call.function.arguments or "{}").encode(), _any)


_any: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class ToolCalls:
    """The pieces of the calls of a stream, put together."""

    def __init__(self) -> None:
        self._calls: dict[int, ToolCall] = {}

    def add(self, piece: ToolCall) -> None:
        known = self._calls.setdefault(piece.index, ToolCall(piece.index))
        known.id = known.id or piece.id
        known.function.name = known.function.name or piece.function.name
        known.function.arguments = (known.function.arguments or "") + (piece.function.arguments or "")

    def whole(self) -> list[ToolCall]:
        return [self._calls[index] for index in sorted(self._calls)]
