"""Requests to the OpenAI-compatible HTTP port, and how their failures are told."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from arw_client import tls
from arw_client.context import Context
from arw_client.errors import ArwError, TimedOutError, UnreachableError
from arw_client.http import BrokenAnswerError, Request, Response, exchange
from arw_client.trace import HEADER, Trace

PATIENCE_S = 30.0
SERVICE_UNAVAILABLE = 503
ERROR_FLOOR = 400
OFFLINE = "NODE_OFFLINE"
MAX_BODY_BYTES = 32 * 1024 * 1024
"""What the port takes at most."""

Waiting = Callable[[str, float], None]
"""Called with why a reply has to wait, and for how many seconds, before each wait."""


class Asking:
    """A runtime that is restarting answers 503; a request then waits up to `patience_s`, saying why.

    Nobody knows when an offline node comes back, so for that it waits only up to `offline_patience_s`.
    """

    def __init__(
        self, context: Context, trace: Trace, patience_s: float = PATIENCE_S, offline_patience_s: float = 0
    ) -> None:
        self._context = context
        self._trace = trace
        self._patience_s = patience_s
        self._offline_patience_s = offline_patience_s

    @asynccontextmanager
    async def answer(self, path: str, content_type: str, body: bytes, waiting: Waiting) -> AsyncIterator[Response]:
        """The answer to a POST, once there is one; whatever else comes is raised as an ArwError."""
        if len(body) > MAX_BODY_BYTES:
            raise ArwError(
                "MESSAGE_TOO_LARGE",
                f"The request is larger than the {MAX_BODY_BYTES} bytes that the gateway takes.",
                "Send less: a smaller or shorter file.",
            )
        request = self._request(path, content_type, body)
        began = time.monotonic()
        while True:
            async with self._told(), exchange(request, self._tls(), tls.CONTROL_PLANE_NAME) as response:
                if response.status < ERROR_FLOOR:
                    yield response
                    return
                refused, pause = await _refused(response)
            patience_s = self._offline_patience_s if refused.reason == OFFLINE else self._patience_s
            left = began + patience_s - time.monotonic()
            if pause is None or left <= 0:
                raise refused
            pause = min(pause, left)
            waiting(refused.text, pause)
            await asyncio.sleep(pause)

    def _request(self, path: str, content_type: str, body: bytes) -> Request:
        headers = {
            "authorization": f"Bearer {self._context.token}",
            "content-type": content_type,
            HEADER: self._trace.header(),
        }
        first, *others = (url.rstrip("/") + path for url in self._urls())
        return Request("POST", first, headers, body, tuple(others))

    def _tls(self) -> ssl.SSLContext | None:
        schemes = {urlsplit(url).scheme for url in self._urls()}
        return tls.server_only(self._context) if "https" in schemes else None

    def _urls(self) -> tuple[str, ...]:
        """Of every replica that is known, each once."""
        return tuple(dict.fromkeys((self._context.http_url, *self._context.http_urls)))

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        url = " or ".join(self._urls())
        try:
            yield
        except TimeoutError as error:
            raise TimedOutError(
                f"{url} did not answer in time.", "See `arwctl runtime status`, then try again."
            ) from error
        except OSError as error:
            raise UnreachableError(f"Nothing answers at {url}.", "Start it with `arwctl up`.") from error
        except (BrokenAnswerError, asyncio.IncompleteReadError) as error:
            why = error if isinstance(error, BrokenAnswerError) else "the connection ended before it did"
            raise UnreachableError(
                f"The answer from {url} broke off: {why}.",
                "The engine or the control plane stopped; see `arwctl runtime status`, then ask again.",
            ) from error


async def _refused(response: Response) -> tuple[ArwError, float | None]:
    """The refusal, and after how many seconds the server would like to be asked again."""
    said = _problem(await response.read())
    unsaid = f"The control plane answered with HTTP status {response.status}."
    refused = error_of(said, f"HTTP_{response.status}", unsaid, "See `arwctl runtime status`.")
    after = response.headers.get("retry-after", "")
    waits = response.status == SERVICE_UNAVAILABLE and after.replace(".", "", 1).isdigit()
    return refused, float(after) if waits else None


def error_of(said: Mapping[str, Any], reason: str, text: str, remedy: str) -> ArwError:
    """In the peer's own words, or in these where it has none."""
    code = str(said.get("code") or reason).upper()
    return ArwError(code, str(said.get("message") or text), str(said.get("remedy") or remedy))


def _problem(body: bytes) -> Mapping[str, Any]:
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {"message": error}


def json_object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise BrokenAnswerError("the answer is not JSON") from error
    if not isinstance(found, dict):
        raise BrokenAnswerError("the answer is not a JSON object")
    return found
