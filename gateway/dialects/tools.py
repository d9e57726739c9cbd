"""/tools/vision.describe: a picture and a question, answered by a chat."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.dialects.asking import only_set, picture_part, streamed, text_part
from gateway.dialects.completion import Usage, chosen
from gateway.refusals import BadRequest

QUESTION = "Describe this picture."


class Describe(msgspec.Struct):
    image: str
    """A data: URL."""
    model: str | None = None
    prompt: str = QUESTION
    max_tokens: int | None = None


def describe_body(asked: Describe) -> bytes:
    if not asked.image.startswith("data:image/"):
        raise BadRequest("'image' is no data: URL of a picture.", "Send it as data:image/png;base64,...")
    content = [picture_part(asked.image), text_part(asked.prompt)]
    turns = [{"role": "user", "content": content}]
    rest = only_set(max_tokens=asked.max_tokens)
    return msgspec.json.encode({"model": asked.model, "messages": turns, **streamed(stream=False), **rest})


def described(body: bytes, model: str) -> Any:
    said, first = chosen(body)
    usage = said.usage or Usage()
    counts = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens or 0}
    return {"model": model, "text": first.said.content or "", "usage": counts}
