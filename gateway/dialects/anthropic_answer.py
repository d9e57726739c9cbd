"""A chat completion, told as Anthropic's message or as the events of one."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from gateway.dialects.completion import Completion, Message, ToolCall, Usage, arguments, chosen
from gateway.dialects.errors import ANTHROPIC, Fault

_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


class AnthropicTeller:
    content_type: ClassVar[str] = "text/event-stream"

    def __init__(self, model: str, request_id: str) -> None:
        self._model = model
        self._request_id = request_id
        self._open = ""
        """The type of the block that is being told; empty: none."""
        self._index = -1
        self._call = -1
        self._reason: str | None = None
        self._usage = Usage()

    def whole(self, body: bytes) -> Any:
        said, first = chosen(body)
        return {
            **self._frame(_blocks(first.said), _reason(first.finish_reason)),
            "usage": _counts(said.usage or Usage()),
        }

    def opening(self) -> bytes:
        """The engine counts what it read at the end, so here it is 0."""
        message = {**self._frame([], None), "usage": _counts(Usage())}
        return _event("message_start", message=message)

    def more(self, said: Completion) -> bytes:
        self._usage = said.usage or self._usage
        first = said.first
        if first is None:
            return b""
        self._reason = first.finish_reason or self._reason
        message, told = first.said, b""
        if message.reasoning_content:
            told += self._delta("thinking", type="thinking_delta", thinking=message.reasoning_content)
        if message.content:
            told += self._delta("text", type="text_delta", text=message.content)
        return told + b"".join(map(self._calling, message.tool_calls or ()))

    def closing(self) -> bytes:
        delta = {"stop_reason": _reason(self._reason), "stop_sequence": None}
        ended = _event("message_delta", delta=delta, usage=_counts(self._usage))
        return self._shut() + ended + _event("message_stop")

    def broken(self, fault: Fault) -> bytes:
        return b"event: error\ndata: " + ANTHROPIC.body(fault, self._request_id) + b"\n\n"

    def _frame(self, content: list[Any], reason: str | None) -> dict[str, Any]:
        return {
            "id": f"msg_{self._request_id}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
        }

    def _calling(self, call: ToolCall) -> bytes:
        told = b""
        if call.index != self._call:
            self._call = call.index
            told = self._begin("tool_use", {"type": "tool_use", "id": _id(call), "name": _name(call), "input": {}})
        piece = call.function.arguments
        return told + (self._piece(type="input_json_delta", partial_json=piece) if piece else b"")

    def _delta(self, kind: str, **delta: str) -> bytes:
        told = b"" if self._open == kind else self._begin(kind, _EMPTY[kind])
        return told + self._piece(**delta)

    def _piece(self, **delta: str) -> bytes:
        return _event("content_block_delta", index=self._index, delta=delta)

    def _begin(self, kind: str, block: dict[str, Any]) -> bytes:
        shut = self._shut()
        self._open, self._index = kind, self._index + 1
        return shut + _event("content_block_start", index=self._index, content_block=block)

    def _shut(self) -> bytes:
        was, self._open = self._open, ""
        return _event("content_block_stop", index=self._index) if was else b""


_EMPTY: dict[str, dict[str, Any]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


def _event(name: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode({"type": name, **fields}))


def _blocks(message: Message) -> list[dict[str, Any]]:
    found = []
    if message.reasoning_content:
        found.append({**_EMPTY["thinking"], "thinking": message.reasoning_content})
    if message.content:
        found.append({**_EMPTY["text"], "text": message.content})
    return found + [
        {"type": "tool_use", "id": _id(call), "name": _name(call), "input": arguments(call)}
        for call in message.tool_calls or ()
    ]


def _id(call: ToolCall) -> str:
    return call.id or f"call_{call.index}"


def _name(call: ToolCall) -> str:
    return call.function.name or ""


def _reason(finish: str | None) -> str:
    return _REASONS.get(finish or "stop", "end_turn")


def _counts(usage: Usage) -> dict[str, int]:
    return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens or 0}
