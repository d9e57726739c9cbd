"""An engine's answer on its way to a client of another dialect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol

import msgspec

from gateway.dialects.completion import Completion
from gateway.dialects.errors import Fault, Shape, engine_fault, fault_of, phrase
from gateway.dialects.events import EventReader
from gateway.dialects.reading import AnswerReader
from gateway.refusals import EngineBroke, GatewayRefusal
from wire.http_head import REFUSED_BY_NODE, response_bytes

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Of one that is put into other words as a whole."""
_KEPT = ("retry-after", REFUSED_BY_NODE)
_LAST_CHUNK = b"0\r\n\r\n"


Rewrite = Callable[[bytes], Any]
"""The JSON value in place of an engine's whole answer; EngineBroke when that cannot be read."""


class Teller(Protocol):
    """Tells one stream in the words of a dialect."""

    @property
    def content_type(self) -> str: ...

    def opening(self) -> bytes:
        """What a stream begins with."""

    def more(self, said: Completion) -> bytes: ...

    def closing(self) -> bytes: ...

    def broken(self, fault: Fault) -> bytes:
        """What a stream ends with that does not go on."""


class Rendering(ABC):
    """Takes the engine's bytes, gives the client's. What it holds back is bounded."""

    unframed = False
    """Its end is that of the connection."""
    passes = False
    """Once it has begun, the engine's bytes are the client's."""

    def __init__(self) -> None:
        self.begun = False
        """The client got something."""
        self._reader = AnswerReader()

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """EngineBroke when the answer makes no sense."""

    def cut_short(self, refusal: GatewayRefusal) -> bytes:
        """The last words to a client whose answer has begun and does not go on."""
        del refusal
        return b""


class Worded(Rendering):
    """In a dialect."""

    def __init__(self, request_id: str, shape: Shape) -> None:
        super().__init__()
        self._request_id = request_id
        self._shape = shape
        self._held: list[bytes] = []
        self._size = 0

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._size += len(data)
        if self._size > MAX_ANSWER_BYTES:
            raise EngineBroke("The engine's answer is too large.", "Ask for less at once.")

    def _failed(self) -> bytes:
        """The refusal of the engine, or of the agent in its place."""
        fault = engine_fault(self._reader.status, b"".join(self._held))
        return self._answer(fault.status, self._shape.body(fault, self._request_id), self._shape.content_type)

    def _answer(self, status: int, body: bytes, content_type: str = "application/json") -> bytes:
        self.begun = True
        kept = [(name, self._reader.headers.get(name.encode())) for name in _KEPT]
        headers = [("content-type", content_type), ("x-request-id", self._request_id)]
        headers += [(name, value.decode("latin-1")) for name, value in kept if value is not None]
        return response_bytes(status, phrase(status), headers, body)


class PassedOn(Worded):
    """Of an engine that speaks the dialect itself: only its refusals are put into other words."""

    passes = True
    _raw = b""

    def feed(self, data: bytes) -> bytes:
        if self.begun:
            return data
        self._raw += data
        self._hold(self._reader.feed(data))
        if self._reader.status >= HTTPStatus.BAD_REQUEST:
            return self._failed() if self._reader.whole else b""
        self.begun = bool(self._reader.status)
        return self._raw if self.begun else b""


class Translated(Worded):
    """Of an engine that answers chat completions, completions or embeddings."""

    def __init__(self, request_id: str, shape: Shape, rewrite: Rewrite, teller: Teller | None = None) -> None:
        """`teller` None: it never streams."""
        super().__init__(request_id, shape)
        self._rewrite = rewrite
        self._teller = teller
        self._events = EventReader()
        self._ended = False

    def feed(self, data: bytes) -> bytes:
        body = self._reader.feed(data)
        if not self._reader.status:
            return b""
        if self._teller is not None and self._reader.status == HTTPStatus.OK and self._reader.is_event_stream:
            return self._streamed(body, self._teller)
        self._hold(body)
        return self._told() if self._reader.whole else b""

    def cut_short(self, refusal: GatewayRefusal) -> bytes:
        if self._ended or self._teller is None:
            return b""
        return _chunk(self._end_with(fault_of(refusal), self._teller)) + _LAST_CHUNK

    def _told(self) -> bytes:
        if self._reader.status >= HTTPStatus.BAD_REQUEST:
            return self._failed()
        return self._answer(HTTPStatus.OK, msgspec.json.encode(self._rewrite(b"".join(self._held))))

    def _streamed(self, body: bytes, teller: Teller) -> bytes:
        said = b"".join(self._more(event, teller) for event in self._events.feed(body))
        if self._reader.whole and not self._ended:
            said += teller.closing()
            self._ended = True
        return self._head(teller) + _chunk(said) + (_LAST_CHUNK if self._reader.whole else b"")

    def _more(self, event: Completion, teller: Teller) -> bytes:
        if self._ended:
            return b""
        if event.error is None:
            return teller.more(event)
        return self._end_with(engine_fault(HTTPStatus.BAD_GATEWAY, msgspec.json.encode({"error": event.error})), teller)

    def _end_with(self, fault: Fault, teller: Teller) -> bytes:
        self._ended = True
        return teller.broken(fault)

    def _head(self, teller: Teller) -> bytes:
        if self.begun:
            return b""
        self.begun = True
        lines = (
            "HTTP/1.1 200 OK",
            f"content-type: {teller.content_type}",
            "cache-control: no-cache",
            f"x-request-id: {self._request_id}",
            "transfer-encoding: chunked",
        )
        return "\r\n".join((*lines, "", "")).encode("latin-1") + _chunk(teller.opening())


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
