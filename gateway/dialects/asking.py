"""Reading of requests in other dialects, and the chat completion that is asked for in their place."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from gateway.refusals import BadRequest

CHAT = b"/v1/chat/completions"
COMPLETIONS = b"/v1/completions"
EMBEDDINGS = b"/v1/embeddings"

Asked = TypeVar("Asked")
Turn = dict[str, Any]
"""A message of a chat completion."""


def read(body: bytes, type_: type[Asked]) -> Asked:
    """BadRequest for what is no UTF-8, no JSON, or not of this shape."""
    try:
        if not body.isascii():
            body.decode()
        return msgspec.json.decode(body, type=type_)
    except UnicodeDecodeError:
        raise BadRequest("The request body is no valid UTF-8.", "Encode the JSON body as UTF-8.") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"The request body is no valid JSON request: {error}.", "Send a JSON object.") from None


def given(model: str | None, where: str = "request") -> str:
    if not model:
        raise BadRequest(f"The {where} names no model.", "Set 'model'; GET /v1/models lists what serves.")
    return model


def only_set(**fields: Any) -> dict[str, Any]:
    """Those that are not None: engines refuse some that are."""
    return {name: value for name, value in fields.items() if value is not None}


def text_part(text: str) -> Turn:
    return {"type": "text", "text": text}


def picture_part(url: str) -> Turn:
    return {"type": "image_url", "image_url": {"url": url}}


def content_of(parts: list[Turn]) -> str | list[Turn]:
    """Text alone goes as text: every engine takes that."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def tool(name: str, description: str | None, parameters: Any) -> Turn:
    return {
        "type": "function",
        "function": {"name": name, **only_set(description=description, parameters=parameters)},
    }


def tool_call(id_: str, name: str, arguments: Any) -> Turn:
    return {
        "id": id_,
        "type": "function",
        "function": {"name": name, "arguments": msgspec.json.encode(arguments).decode()},
    }


def streamed(stream: bool | None) -> dict[str, Any]:
    """With the engine's counts at the end."""
    return {"stream": True, "stream_options": {"include_usage": True}} if stream else {"stream": False}
