"""What an engine answers, told as Ollama tells it: lines of JSON, times in nanoseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum, auto
from time import perf_counter_ns
from typing import Any, ClassVar

import msgspec

from gateway.dialects.completion import (
    Completion,
    Message,
    Timings,
    ToolCall,
    ToolCalls,
    Usage,
    arguments,
    chosen,
    decoded,
)
from gateway.dialects.errors import OLLAMA, Fault

_NS_PER_MS = 1_000_000


class Told(Enum):
    """What was asked for."""

    CHAT = auto()
    GENERATE = auto()


class OllamaTeller:
    content_type: ClassVar[str] = "application/x-ndjson"

    def __init__(self, model: str, told: Told) -> None:
        self._model = model
        self._told = told
        self._since = perf_counter_ns()
        self._calls = ToolCalls()
        self._reason: str | None = None
        self._usage = Usage()
        self._timings = Timings()

    def whole(self, body: bytes) -> Any:
        said, first = chosen(body)
        self._note(said)
        return self._frame(first.said, first.said.tool_calls or []) | self._end()

    def loaded(self) -> Any:
        """To a request without words."""
        return self._frame(Message(), []) | {"done": True, "done_reason": "load"}

    def opening(self) -> bytes:
        return b""

    def more(self, said: Completion) -> bytes:
        self._note(said)
        message = said.first.said if said.first else Message()
        for piece in message.tool_calls or ():
            self._calls.add(piece)
        spoken = message.content or message.reasoning_content
        return _line(self._frame(message, []) | {"done": False}) if spoken else b""

    def closing(self) -> bytes:
        return _line(self._frame(Message(), self._calls.whole()) | self._end())

    def broken(self, fault: Fault) -> bytes:
        return OLLAMA.body(fault, "") + b"\n"

    def _note(self, said: Completion) -> None:
        self._usage = said.usage or self._usage
        self._timings = said.timings or self._timings
        if said.first is not None:
            self._reason = said.first.finish_reason or self._reason

    def _frame(self, message: Message, calls: list[ToolCall]) -> dict[str, Any]:
        text = message.content or ""
        thought = {"thinking": message.reasoning_content} if message.reasoning_content else {}
        stamp = {"model": self._model, "created_at": _now()}
        if self._told is Told.GENERATE:
            return {**stamp, "response": text, **thought}
        called = {"tool_calls": [_call(call) for call in calls]} if calls else {}
        return {**stamp, "message": {"role": "assistant", "content": text, **thought, **called}}

    def _end(self) -> dict[str, Any]:
        """What it took. Loading took nothing: only what serves is asked."""
        return {
            "done": True,
            "done_reason": "length" if self._reason == "length" else "stop",
            "total_duration": perf_counter_ns() - self._since,
            "load_duration": 0,
            "prompt_eval_count": self._usage.prompt_tokens,
            "prompt_eval_duration": round(self._timings.prompt_ms * _NS_PER_MS),
            "eval_count": self._usage.completion_tokens or 0,
            "eval_duration": round(self._timings.predicted_ms * _NS_PER_MS),
        }


class _Vector(msgspec.Struct):
    embedding: list[float]


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    usage: Usage | None = None


_vectors = msgspec.json.Decoder(_Vectors)


class Embedding:
    def __init__(self, model: str, *, alone: bool) -> None:
        """`alone`: asked by the older path, which knows one vector."""
        self._model = model
        self._alone = alone
        self._since = perf_counter_ns()

    def whole(self, body: bytes) -> Any:
        found = decoded(body, _vectors)
        if self._alone:
            return {"embedding": found.data[0].embedding if found.data else []}
        return {
            "model": self._model,
            "embeddings": [vector.embedding for vector in found.data],
            "total_duration": perf_counter_ns() - self._since,
            "load_duration": 0,
            "prompt_eval_count": found.usage.prompt_tokens if found.usage else 0,
        }


def _call(call: ToolCall) -> dict[str, Any]:
    return {"function": {"name": call.function.name or "", "arguments": arguments(call)}}


def _line(value: Any) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def _now() -> str:
    return datetime.now(UTC).isoformat()
