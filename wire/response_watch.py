"""Answers as the data path needs them: not read, only watched."""

from __future__ import annotations

import httptools

_INTERIM = range(100, 200)
_HEAD_BYTES = 256 * 1024
"""Of an answer, with all interim ones before it."""


class ResponseWatch:
    """Follows a response far enough to know its status, where its body starts and when it is over."""

    __slots__ = ("_bodyless", "_head", "_parser", "body_started", "complete", "keep_alive", "status", "surplus")

    def __init__(self, method: bytes = b"POST") -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._bodyless = method == b"HEAD"
        self._head = 0
        self.status = 0
        """0 until the final head is read."""
        self.body_started = False
        self.complete = False
        self.keep_alive = False
        """Valid once complete."""
        self.surplus = False
        """More came than the response, or a head without end: the sender cannot be trusted with another request."""

    def feed(self, data: bytes) -> bool:
        """Whether this is still one well-formed response."""
        if self.complete and data:
            self.surplus = True
        else:
            self._follow(data)
        return not self.surplus

    def _follow(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.surplus = True
        if not self.status:
            self._head += len(data)
            self.surplus |= self._head > _HEAD_BYTES

    def on_message_begin(self) -> None:
        if self.complete:
            self.surplus = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status in _INTERIM:
            return
        self.status, self.body_started = status, True
        if self._bodyless:
            self._finish()

    def on_message_complete(self) -> None:
        if self.status:
            self._finish()

    def _finish(self) -> None:
        self.complete = True
        self.keep_alive = self._parser.should_keep_alive() and not self._bodyless
