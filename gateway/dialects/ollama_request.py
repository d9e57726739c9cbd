"""Ollama's chat, generate and embed, asked as a chat completion, a completion or embeddings.

`keep_alive`, `think` and options that no engine here knows at a request (`num_ctx`, `num_gpu` and their like) are left
out: what a runtime runs with is declared. What would change the answer and cannot be asked for is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.dialects.asking import Turn, content_of, only_set, picture_part, streamed, text_part, tool_call
from gateway.refusals import BadRequest

_KINDS = {"iVBOR": "png", "/9j/": "jpeg", "UklGR": "webp", "R0lGOD": "gif"}
"""Of a picture, by what its base64 begins with."""


class Options(msgspec.Struct):
    num_predict: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: list[str] | str | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


class Function(msgspec.Struct):
    name: str
    arguments: dict[str, Any] = {}


class Call(msgspec.Struct):
    function: Function


class OllamaTurn(msgspec.Struct):
    role: str
    content: str = ""
    images: list[str] | None = None
    tool_calls: list[Call] | None = None
    tool_name: str = ""


class Chat(msgspec.Struct):
    model: str | None = None
    messages: list[OllamaTurn] = []
    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    options: Options | None = None
    tools: list[dict[str, Any]] | None = None


class Generate(msgspec.Struct):
    model: str | None = None
    prompt: str = ""
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    images: list[str] | None = None
    raw: bool | None = None
    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    options: Options | None = None


class Embed(msgspec.Struct):
    model: str | None = None
    input: str | list[str] = ""
    prompt: str | None = None
    """Of /api/embeddings, the older path."""
    dimensions: int | None = None


def chat_body(asked: Chat) -> bytes:
    tools = only_set(tools=asked.tools or None)
    return _body(asked, {"messages": list(_turns(asked.messages)), **tools})


def generate_body(asked: Generate) -> bytes:
    """For a chat, or a plain completion where `raw` says that the prompt is the whole."""
    _refuse_unknown(asked)
    if asked.raw:
        return _body(asked, {"prompt": asked.prompt})
    system = [OllamaTurn("system", asked.system)] if asked.system else []
    turns = [*system, OllamaTurn("user", asked.prompt, asked.images)]
    return _body(asked, {"messages": list(_turns(turns))})


def embed_body(asked: Embed) -> bytes:
    given = asked.input if asked.prompt is None else asked.prompt
    if not given:
        raise BadRequest("The request has no input.", "Send text in 'input'.")
    rest = only_set(dimensions=asked.dimensions)
    return msgspec.json.encode({"model": asked.model, "input": given, "encoding_format": "float", **rest})


def _refuse_unknown(asked: Generate) -> None:
    for name in ("suffix", "template", "context"):
        if getattr(asked, name):
            raise BadRequest(f"'{name}' cannot be asked of an engine here.", "Leave it out, or use /api/chat.")


def _body(asked: Chat | Generate, what: Mapping[str, Any]) -> bytes:
    told = {"model": asked.model, **what, **streamed(asked.stream is not False)}
    return msgspec.json.encode(told | _options(asked.options or Options()) | _format(asked.format))


def _options(given: Options) -> dict[str, Any]:
    """A negative length is Ollama's "until it is done"."""
    named = {field: getattr(given, field) for field in given.__struct_fields__ if field != "num_predict"}
    limit = given.num_predict if given.num_predict and given.num_predict > 0 else None
    return only_set(max_tokens=limit, **named)


def _format(wanted: str | dict[str, Any] | None) -> dict[str, Any]:
    if not wanted:
        return {}
    if wanted == "json":
        return {"response_format": {"type": "json_object"}}
    if isinstance(wanted, str):
        raise BadRequest(f"The format {wanted[:40]!r} is not known.", "Use json, or a JSON schema.")
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted}}}


def _turns(messages: list[OllamaTurn]) -> Iterator[Turn]:
    """Ollama's calls of tools have no ids: they are numbered, and answered in order, by name where one is said."""
    pending: list[tuple[str, str]] = []
    made = 0
    for message in messages:
        calls = []
        for call in message.tool_calls or ():
            made += 1
            pending.append((f"call_{made}", call.function.name))
            calls.append(tool_call(f"call_{made}", call.function.name, call.function.arguments))
        if message.role == "tool":
            yield {"role": "tool", "tool_call_id": _taken(pending, message.tool_name), "content": message.content}
        else:
            yield {"role": message.role, "content": _content(message), **only_set(tool_calls=calls or None)}


def _taken(pending: list[tuple[str, str]], name: str) -> str:
    fitting = next((call for call in pending if call[1] == name), None) or next(iter(pending), None)
    if fitting is None:
        raise BadRequest("A message of a tool answers no call.", "Send the assistant's tool_calls before it.")
    pending.remove(fitting)
    return fitting[0]


def _content(message: OllamaTurn) -> str | list[Turn]:
    pictures = [picture_part(_data_url(picture)) for picture in message.images or ()]
    return content_of([text_part(message.content), *pictures]) if pictures else message.content


def _data_url(picture: str) -> str:
    kind = next((kind for start, kind in _KINDS.items() if picture.startswith(start)), None)
    if kind is None:
        raise BadRequest("A picture is no base64 of PNG, JPEG, WebP or GIF.", "Encode the file's bytes as base64.")
    return f"data:image/{kind};base64,{picture}"
