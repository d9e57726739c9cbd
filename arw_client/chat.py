"""Chat with a runtime through the OpenAI-compatible HTTP port."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from arw_client.asking import Asking, Waiting, error_of, json_object
from arw_client.http import BrokenAnswerError, Response

PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Prompt:
    model: str
    messages: Sequence[Mapping[str, object]]
    """As OpenAI has them; `arw_client.question` makes those of users."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Sent as they are: max_tokens, temperature, ..."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a streamed reply. The last one brings `finish_reason`, then `usage`."""

    text: str = ""
    finish_reason: str = ""
    usage: Mapping[str, Any] | None = None


class Chat(Asking):
    """Prompts and their replies."""

    async def reply(self, prompt: Prompt, waiting: Waiting) -> dict[str, Any]:
        """The whole answer, as the engine gave it."""
        async with self._answer(prompt, waiting, stream=False) as response:
            answer: dict[str, Any] = json_object(await response.read())
            return answer

    async def stream(self, prompt: Prompt, waiting: Waiting) -> AsyncGenerator[Delta]:
        """The answer as it is made. Close it (`contextlib.aclosing`) to end the generation early."""
        async with self._answer(prompt, waiting, stream=True) as response:
            async for event in _events(response):
                for delta in _deltas(event):
                    yield delta

    def _answer(self, prompt: Prompt, waiting: Waiting, *, stream: bool) -> AbstractAsyncContextManager[Response]:
        asked = {"model": prompt.model, "messages": list(prompt.messages), "stream": stream, **prompt.options}
        if stream:
            asked["stream_options"] = {"include_usage": True}
        return self.answer(PATH, "application/json", json.dumps(asked).encode(), waiting)


async def _events(response: Response) -> AsyncIterator[dict[str, Any]]:
    """The data of server-sent events until [DONE]; a reply that ends without it broke off."""
    async for line in response.lines():
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        yield json_object(data)
    raise BrokenAnswerError("the stream ended before its last event")


def _deltas(event: Mapping[str, Any]) -> Sequence[Delta]:
    if "error" in event:
        said = event["error"] if isinstance(event["error"], dict) else {"message": event["error"]}
        raise error_of(said, "ENGINE_FAILED", "The engine failed.", "See `arwctl runtime logs`.")
    choices = event.get("choices") or [{}]
    text = choices[0].get("delta", {}).get("content") or ""
    delta = Delta(text, choices[0].get("finish_reason") or "", event.get("usage"))
    return [delta] if delta != Delta() else []
