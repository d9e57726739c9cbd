"""Anthropic's Messages, asked as a chat completion.

What no engine here knows is left out: `thinking`, `metadata`, `service_tier`, `cache_control`. What would change the
answer and cannot be asked for is refused: tools that run at Anthropic, documents, citations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.dialects.asking import Turn, content_of, only_set, picture_part, streamed, text_part, tool, tool_call
from gateway.refusals import BadRequest

_UNSPOKEN = frozenset(("thinking", "redacted_thinking"))
"""Blocks of earlier answers that are not sent again."""
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class Source(msgspec.Struct):
    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""


class Block(msgspec.Struct):
    type: str
    text: str = ""
    source: Source | None = None
    id: str = ""
    name: str = ""
    input: Any = None
    tool_use_id: str = ""
    content: str | list[Block] | None = None


class AnthropicTurn(msgspec.Struct):
    role: str
    content: str | list[Block]


class Tool(msgspec.Struct):
    name: str
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class Choice(msgspec.Struct):
    type: str
    name: str = ""


class Head(msgspec.Struct):
    """What routing needs, and what an engine that speaks the dialect would fail over."""

    messages: list[msgspec.Raw]
    model: str | None = None
    stream: bool | None = None


class Messages(msgspec.Struct):
    messages: list[AnthropicTurn]
    model: str | None = None
    system: str | list[Block] | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: Choice | None = None


def as_chat(asked: Messages) -> bytes:
    turns = [*_system(asked.system), *(turn for message in asked.messages for turn in _turns(message))]
    rest = only_set(
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        stop=asked.stop_sequences,
        tools=[_tool(one) for one in asked.tools] if asked.tools else None,
        tool_choice=_choice(asked.tool_choice) if asked.tool_choice and asked.tools else None,
    )
    return msgspec.json.encode({"model": asked.model, "messages": turns, **streamed(asked.stream), **rest})


def _system(system: str | list[Block] | None) -> Iterator[Turn]:
    if system:
        yield {"role": "system", "content": system if isinstance(system, str) else _text(system)}


def _turns(message: AnthropicTurn) -> Iterator[Turn]:
    if message.role not in {"user", "assistant"}:
        raise BadRequest(f"A message has the role {message.role[:40]!r}.", "Use user or assistant; 'system' is apart.")
    if isinstance(message.content, str):
        yield {"role": message.role, "content": message.content}
    elif message.role == "assistant":
        yield _assistant(message.content)
    else:
        yield from _user(message.content)


def _assistant(blocks: list[Block]) -> Turn:
    calls = [tool_call(block.id, block.name, block.input or {}) for block in blocks if block.type == "tool_use"]
    spoken = [block for block in blocks if block.type not in {"tool_use", *_UNSPOKEN}]
    return {"role": "assistant", "content": _text(spoken) or None, **only_set(tool_calls=calls or None)}


def _user(blocks: list[Block]) -> Iterator[Turn]:
    """Results of tools come first, as engines want them right behind the calls."""
    results = [block for block in blocks if block.type == "tool_result"]
    parts = [_part(block) for block in blocks if block.type != "tool_result"]
    for result in results:
        inner = (
            [text_part(result.content)] if isinstance(result.content, str) else list(map(_part, result.content or ()))
        )
        text = "\n".join(part["text"] for part in inner if part["type"] == "text")
        yield {"role": "tool", "tool_call_id": result.tool_use_id, "content": text}
        parts += [part for part in inner if part["type"] != "text"]
    if parts or not results:
        yield {"role": "user", "content": content_of(parts)}


def _part(block: Block) -> Turn:
    if block.type == "text":
        return text_part(block.text)
    if block.type == "image" and block.source is not None:
        return picture_part(_address(block.source))
    raise _unknown(block)


def _address(source: Source) -> str:
    if source.type == "url":
        return source.url
    if source.type != "base64":
        raise BadRequest(f"An image has the source {source.type[:40]!r}.", "Send it as base64 or url.")
    return f"data:{source.media_type};base64,{source.data}"


def _text(blocks: list[Block]) -> str:
    for block in blocks:
        if block.type != "text":
            raise _unknown(block)
    return "\n".join(block.text for block in blocks)


def _unknown(block: Block) -> BadRequest:
    text = f"A block of type {block.type[:40]!r} cannot be put to this engine here."
    return BadRequest(text, "Use text, image, tool_use and tool_result blocks.")


def _tool(one: Tool) -> Turn:
    if one.input_schema is None:
        raise BadRequest(
            f"The tool {one.name[:40]!r} has no input_schema: it runs at Anthropic, not here.", "Leave it out."
        )
    return tool(one.name, one.description, one.input_schema)


def _choice(choice: Choice) -> Any:
    if choice.type == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    if choice.type not in _CHOICES:
        raise BadRequest(f"tool_choice has the type {choice.type[:40]!r}.", "Use auto, any, none or tool.")
    return _CHOICES[choice.type]
