"""Looks at a passing response without touching it: when it began to speak, and what the engine counted."""

from __future__ import annotations

import json
import re
from time import perf_counter

from gateway.ports import Caller, Exchange, Route, Tokens
from wire.http_head import REFUSED_BY_NODE

_OPENING_BYTES = 4 * 1024
_TAIL_BYTES = 16 * 1024
_TOKEN = re.compile(rb'"(?:content|reasoning_content|text|thinking|delta|arguments|partial_json)"\s*:\s*"(?!")')
_REFUSED = f"\r\n{REFUSED_BY_NODE}: ".encode()
_EVENTS = re.compile(rb"\r\ncontent-type:[ \t]*text/event-stream")
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked")
_EVENT_END = b"\n\n\r\n"
_decoder = json.JSONDecoder()


class Measure:
    """What is learnt of one exchange. Keeps at most the opening and the tail of the body."""

    __slots__ = (
        "_caller", "_opening", "_route", "_started", "_streamed", "_tail", "_tail_size", "_token_at", "bytes_out",
        "first_byte_at", "path", "trace_id",
    )  # fmt: skip

    def __init__(self, route: Route, caller: Caller, path: str, *, streamed: bool, trace_id: str) -> None:
        self._route = route
        self._caller = caller
        self.path = path
        self._streamed = streamed
        self.trace_id = trace_id
        self._started = perf_counter()
        self.first_byte_at: float | None = None
        self._token_at: float | None = None
        self._opening = b""
        self._tail: list[bytes] = []
        self._tail_size = 0
        self.bytes_out = 0

    def see(self, data: bytes) -> None:
        if self.first_byte_at is None:
            self.first_byte_at = perf_counter()
        if self._token_at is None and _TOKEN.search(data):
            self._token_at = perf_counter()
        if len(self._opening) < _OPENING_BYTES:
            self._opening += data[:_OPENING_BYTES]
        self.bytes_out += len(data)
        self._tail.append(data)
        self._tail_size += len(data)
        if self._tail_size > 2 * _TAIL_BYTES:
            self._cut()

    def _cut(self) -> None:
        tail = b"".join(self._tail)[-_TAIL_BYTES:]
        self._tail, self._tail_size = [tail], len(tail)

    @property
    def between_events(self) -> bool:
        """Whether what passed is an event stream, in chunks, that stands at the end of both an event and a chunk."""
        head = self._opening.partition(b"\r\n\r\n")[0].lower()
        streams = _EVENTS.search(head) is not None and _CHUNKED.search(head) is not None
        return streams and b"".join(self._tail[-len(_EVENT_END) :]).endswith(_EVENT_END)

    def exchange(self, status: int, *, complete: bool, abandoned: bool) -> Exchange:
        return Exchange(
            route=self._route,
            caller=self._caller.id,
            project=self._caller.project,
            path=self.path,
            status=status,
            streamed=self._streamed,
            complete=complete,
            abandoned=abandoned,
            first_byte_ms=self._since_start(self.first_byte_at),
            first_token_ms=self._since_start(self._token_at),
            total_ms=(perf_counter() - self._started) * 1000,
            bytes_out=self.bytes_out,
            tokens=self._tokens(),
            trace_id=self.trace_id,
            refused_by_node=refused_by_node(self._opening),
        )

    def _since_start(self, at: float | None) -> float | None:
        return None if at is None else (at - self._started) * 1000

    def _tokens(self) -> Tokens | None:
        tail = b"".join(self._tail)[-_TAIL_BYTES:]
        return tokens_in(tail, self._opening) or tokens_in(self._opening)


def refused_by_node(opening: bytes) -> bool:
    """Whether the node's agent wrote this answer, and no engine."""
    return _REFUSED in opening.partition(b"\r\n\r\n")[0]


def tokens_in(text: bytes, opening: bytes = b"") -> Tokens | None:
    """The last counts in a piece of a response: the OpenAI usage, else llama.cpp's own timings.

    `opening`: where Anthropic's streams count the prompt.
    """
    usage = _last_object(text, b'"usage"')
    if usage is not None and "prompt_tokens" in usage:
        return _counted(usage.get("prompt_tokens"), usage.get("completion_tokens", 0))
    if usage is not None and "output_tokens" in usage:
        said = usage if "input_tokens" in usage else _last_object(opening, b'"usage"') or {}
        return _counted(_read(said), usage.get("output_tokens"))
    timings = _last_object(text, b'"timings"')
    if timings is not None:
        cached, fresh = _whole(timings.get("cache_n", 0)), _whole(timings.get("prompt_n"))
        return _counted(None if cached is None or fresh is None else cached + fresh, timings.get("predicted_n"))
    return None


def _read(usage: dict[str, object]) -> int | None:
    """Of a prompt. Anthropic counts what came from the cache apart, the Responses in it."""
    parts = [_whole(usage.get(name, 0)) for name in ("cache_read_input_tokens", "cache_creation_input_tokens")]
    fresh = _whole(usage.get("input_tokens"))
    return None if fresh is None else fresh + sum(part or 0 for part in parts)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _counted(prompt: object, completion: object) -> Tokens | None:
    whole_prompt, whole_completion = _whole(prompt), _whole(completion)
    if whole_prompt is None or whole_completion is None:
        return None
    return Tokens(whole_prompt, whole_completion)


def _last_object(text: bytes, key: bytes) -> dict[str, object] | None:
    """The object after the last `key:`; None when it is absent, null, or cut off."""
    start = text.rfind(key)
    if start < 0:
        return None
    rest = text[start + len(key) :].decode("utf-8", "replace").lstrip(" \t\r\n:")
    try:
        value, _ = _decoder.raw_decode(rest)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
