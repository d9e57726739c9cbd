"""One response of an engine, unframed."""

from __future__ import annotations

import httptools

_INTERIM = range(100, 200)


class AnswerReader:
    """Fed with what a ResponseWatch found to be sound."""

    __slots__ = ("_parser", "_pieces", "headers", "status", "whole")

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self.status = 0
        """0 until the final head is read."""
        self.headers: dict[bytes, bytes] = {}
        """Names in lower case."""
        self.whole = False

    def feed(self, data: bytes) -> bytes:
        """What of it is body."""
        self._parser.feed_data(data)
        body, self._pieces = b"".join(self._pieces), []
        return body

    @property
    def is_event_stream(self) -> bool:
        return self.headers.get(b"content-type", b"").startswith(b"text/event-stream")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:
            self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status in _INTERIM:
            self.headers.clear()
        else:
            self.status = status

    def on_body(self, part: bytes) -> None:
        self._pieces.append(part)

    def on_message_complete(self) -> None:
        self.whole = bool(self.status)
