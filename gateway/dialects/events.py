"""The events of a streamed chat completion, taken from bytes as they come."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.dialects.completion import Completion, completion
from gateway.refusals import EngineBroke

MAX_EVENT_BYTES = 4 * 1024 * 1024
_DATA = b"data:"
_LAST = b"[DONE]"


class EventReader:
    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Completion]:
        """Each whole event; EngineBroke for one that is none. The end mark and comments are passed over."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise EngineBroke("An event of the engine's stream is too large.", "Look at the runtime's log.")
        for line in lines:
            text = line[len(_DATA) :].strip() if line.startswith(_DATA) else b""
            if text and text != _LAST:
                yield completion(text)
