"""Chat with a runtime through the OpenAI-compatible HTTP port."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from arw_client import tls
from arw_client.context import Context
from arw_client.errors import ArwError, TimedOutError, UnreachableError
from arw_client.http import BrokenAnswerError, Request, Response, exchange
from arw_client.trace import HEADER, Trace

PATH = "/v1/chat/completions"
PATIENCE_S = 30.0
SERVICE_UNAVAILABLE = 503
ERROR_FLOOR = 400

Waiting = Callable[[str, float], None]
"""Called with why a reply has to wait, and for how many seconds, before each wait."""


@dataclass(frozen=True, slots=True)
class Prompt:
    model: str
    messages: Sequence[Mapping[str, str]]
    options: Mapping[str, Any] = field(default_factory=dict)
    """Sent as they are: max_tokens, temperature, ..."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a streamed reply. The last one brings `finish_reason`, then `usage`."""

    text: str = ""
    finish_reason: str = ""
    usage: Mapping[str, Any] | None = None


class Chat:
    """A runtime that is restarting answers 503; a prompt then waits up to `patience_s`, saying why."""

    def __init__(self, context: Context, trace: Trace, patience_s: float = PATIENCE_S) -> None:
        self._context = context
        self._trace = trace
        self._patience_s = patience_s

    async def reply(self, prompt: Prompt, waiting: Waiting) -> dict[str, Any]:
        """The whole answer, as the engine gave it."""
        async with self._answer(prompt, waiting, stream=False) as response:
            answer: dict[str, Any] = _json(await response.read())
            return answer

    async def stream(self, prompt: Prompt, waiting: Waiting) -> AsyncGenerator[Delta]:
        """The answer as it is made. Close it (`contextlib.aclosing`) to end the generation early."""
        async with self._answer(prompt, waiting, stream=True) as response:
            async for event in _events(response):
                for delta in _deltas(event):
                    yield delta

    @asynccontextmanager
    async def _answer(self, prompt: Prompt, waiting: Waiting, *, stream: bool) -> AsyncIterator[Response]:
        request = self._request(prompt, stream=stream)
        give_up = time.monotonic() + self._patience_s
        while True:
            async with self._told(), exchange(request, self._tls(), tls.CONTROL_PLANE_NAME) as response:
                if response.status < ERROR_FLOOR:
                    yield response
                    return
                refused, pause = await _refused(response)
            left = give_up - time.monotonic()
            if pause is None or left <= 0:
                raise refused
            pause = min(pause, left)
            waiting(refused.text, pause)
            await asyncio.sleep(pause)

    def _request(self, prompt: Prompt, *, stream: bool) -> Request:
        asked = {"model": prompt.model, "messages": list(prompt.messages), "stream": stream, **prompt.options}
        if stream:
            asked["stream_options"] = {"include_usage": True}
        headers = {
            "authorization": f"Bearer {self._context.token}",
            "content-type": "application/json",
            HEADER: self._trace.header(),
        }
        return Request("POST", self._context.http_url.rstrip("/") + PATH, headers, json.dumps(asked).encode())

    def _tls(self) -> ssl.SSLContext | None:
        return tls.server_only(self._context) if urlsplit(self._context.http_url).scheme == "https" else None

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        url = self._context.http_url
        try:
            yield
        except TimeoutError as error:
            raise TimedOutError(
                f"{url} did not answer in time.", "See `arwctl runtime status`, then try again."
            ) from error
        except OSError as error:
            raise UnreachableError(f"Nothing answers at {url}.", "Start it with `arwctl up`.") from error
        except (BrokenAnswerError, asyncio.IncompleteReadError) as error:
            raise UnreachableError(
                f"The answer from {url} broke off: {error}.",
                "The engine or the control plane stopped; see `arwctl runtime status`, then ask again.",
            ) from error


async def _refused(response: Response) -> tuple[ArwError, float | None]:
    """The refusal, and after how many seconds the server would like to be asked again."""
    said = _problem(await response.read())
    unsaid = f"The control plane answered with HTTP status {response.status}."
    refused = _error(said, f"HTTP_{response.status}", unsaid, "See `arwctl runtime status`.")
    after = response.headers.get("retry-after", "")
    waits = response.status == SERVICE_UNAVAILABLE and after.replace(".", "", 1).isdigit()
    return refused, float(after) if waits else None


def _error(said: Mapping[str, Any], reason: str, text: str, remedy: str) -> ArwError:
    """In the peer's own words, or in these where it has none."""
    code = str(said.get("code") or reason).upper()
    return ArwError(code, str(said.get("message") or text), str(said.get("remedy") or remedy))


def _problem(body: bytes) -> Mapping[str, Any]:
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {"message": error}


async def _events(response: Response) -> AsyncIterator[dict[str, Any]]:
    """The data of server-sent events until [DONE]; a reply that ends without it broke off."""
    async for line in response.lines():
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        yield _json(data)
    raise BrokenAnswerError("the stream ended before its last event")


def _deltas(event: Mapping[str, Any]) -> Sequence[Delta]:
    if "error" in event:
        said = event["error"] if isinstance(event["error"], dict) else {"message": event["error"]}
        raise _error(said, "ENGINE_FAILED", "The engine failed.", "See `arwctl runtime logs`.")
    choices = event.get("choices") or [{}]
    text = choices[0].get("delta", {}).get("content") or ""
    delta = Delta(text, choices[0].get("finish_reason") or "", event.get("usage"))
    return [delta] if delta != Delta() else []


def _json(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise BrokenAnswerError("the answer is not JSON") from error
    if not isinstance(found, dict):
        raise BrokenAnswerError("the answer is not a JSON object")
    return found
