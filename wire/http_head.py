"""HTTP/1.1 as the data path needs it: requests read whole under hard limits, and what is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import httptools

Header = tuple[bytes, bytes]

OWN_PREFIX = b"x-arw-"
HOP_BY_HOP = frozenset(
    b"connection content-length expect http2-settings keep-alive proxy-authenticate proxy-authorization "
    b"proxy-connection te trailer transfer-encoding upgrade".split()
)
_OFFER = frozenset((b"connection", b"upgrade", b"http2-settings"))
OLD_VERSION = b"1.0"
_VERSIONS = frozenset(("1.0", "1.1"))
_SMALL_BYTES = 1024
_FRAMING_PER_BYTE = 16
"""What a chunk of a single byte may cost: its size and line ends take five."""


class HttpFault(Exception):  # noqa: N818 - the peer's fault, not ours
    """A request that is not read any further, with the status that says why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class Limits:
    head_bytes: int = 64 * 1024
    """Request line and headers together, trailers included."""
    headers: int = 100
    body_bytes: int = 32 * 1024 * 1024


class Request:
    """A request as it is read; whole once the reader hands it on."""

    __slots__ = ("body", "body_limit", "headers", "keep_alive", "method", "target", "version")

    def __init__(self, body_limit: int) -> None:
        self.method = b""
        self.target = b""
        self.headers: list[Header] = []
        """Names in lower case."""
        self.body = b""
        self.body_limit = body_limit
        """Bytes; may be lowered while only the head is known."""
        self.keep_alive = True
        self.version = b"1.1"

    @property
    def path(self) -> bytes:
        """Without query; of an absolute target, its path."""
        return self.origin_target.partition(b"?")[0]

    @property
    def origin_target(self) -> bytes:
        if self.target.startswith(b"/"):
            return self.target
        _, scheme, rest = self.target.partition(b"://")
        return b"/" + rest.partition(b"/")[2] if scheme else self.target

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def expects_continue(self) -> bool:
        return (self.header(b"expect") or b"").lower() == b"100-continue"

    def end_to_end_headers(self) -> list[Header]:
        """What may travel on: neither hop-by-hop headers nor any that only we may set."""
        offered = b",".join(value for key, value in self.headers if key == b"connection")
        named = {token.strip().lower() for token in offered.split(b",")}
        return [
            (key, value)
            for key, value in self.headers
            if key not in HOP_BY_HOP and key not in named and not key.startswith(OWN_PREFIX)
        ]


class RequestReader:
    """Reads requests one after another. Callbacks run inside `feed`; HttpFault ends the connection's reading."""

    def __init__(
        self, limits: Limits, on_head: Callable[[Request], None], on_request: Callable[[Request], None]
    ) -> None:
        self._limits = limits
        self._on_head = on_head
        self._on_request = on_request
        self._parser = httptools.HttpRequestParser(self)
        self._request: Request | None = None
        self._fault: HttpFault | None = None
        self._begin()

    @property
    def reading(self) -> bool:
        """A request has begun and is not whole yet."""
        return self._request is not None

    @property
    def in_body(self) -> bool:
        return self._request is not None and self._head_done

    @property
    def path(self) -> bytes:
        """Of the request that has begun, as far as it is known."""
        return self._request.path if self._request is not None else b""

    @property
    def held(self) -> int:
        """Bytes of a body that is not whole yet."""
        return self._size

    def feed(self, data: bytes | memoryview) -> None:
        self._began = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(bytes(data[upgrade.args[0] :]))
        except httptools.HttpParserCallbackError:
            if self._fault is None:
                raise
            raise self._fault from None
        except httptools.HttpParserError as error:
            raise HttpFault(400, f"The request is no valid HTTP/1.1: {error}.") from None
        if self._request is not None and not self._began:
            self._count(len(data))

    def _decline_upgrade(self, rest: bytes) -> None:
        """We speak HTTP/1.1 only. The parser reads no body after an offer, so it gets the head again without one."""
        offered = self._current()
        headers = [header for header in offered.headers if header[0] not in _OFFER]
        if not offered.keep_alive:
            headers.append((b"connection", b"close"))
        first = b"%b %b HTTP/%b" % (offered.method, offered.target, offered.version)
        lines = [first, *(b"%b: %b" % header for header in headers)]
        self._parser = httptools.HttpRequestParser(self)
        self.feed(b"\r\n".join((*lines, b"", rest)))

    def _begin(self) -> None:
        self._head_size = 0
        self._size = 0
        self._raw = 0
        self._body: list[bytes] = []
        self._small = bytearray()
        """The last of the body, where it comes in small pieces: each would cost fifty bytes more."""
        self._head_done = False

    def _count(self, raw: int) -> None:
        # The parser keeps an unfinished header or trailer to itself and passes over what a chunk's head says, so whole
        # reads inside one request are counted too.
        self._raw += raw
        framing = self._raw - self._size
        if framing > self._limits.head_bytes + _FRAMING_PER_BYTE * self._size:
            what = "framing of the request body" if self._head_done else "request head"
            self._refuse(431, f"The {what} is larger than {self._limits.head_bytes} bytes.")

    def _grow(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self._limits.head_bytes:
            self._refuse(431, f"The request head is larger than {self._limits.head_bytes} bytes.")

    def _refuse(self, status: int, text: str) -> None:
        self._fault = HttpFault(status, text)
        raise self._fault

    def on_message_begin(self) -> None:
        self._begin()
        self._began = True
        self._request = Request(self._limits.body_bytes)

    def on_url(self, url: bytes) -> None:
        self._current().target += url
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(len(name) + len(value) + 4)
        if self._head_done:
            return
        headers = self._current().headers
        headers.append((name.lower(), value))
        if len(headers) > self._limits.headers:
            self._refuse(431, f"The request has more than {self._limits.headers} headers.")

    def on_headers_complete(self) -> None:
        request = self._current()
        self._head_done, self._raw = True, 0
        request.method = self._parser.get_method()
        request.keep_alive = self._parser.should_keep_alive()
        self._check_framing(request, self._parser.get_http_version())
        if request.method == b"CONNECT":
            self._refuse(405, "Tunnels are not offered here.")
        if self._parser.should_upgrade():
            return
        self._hear(self._on_head, request)
        self._check_body(int(request.header(b"content-length") or 0))

    def on_body(self, part: bytes) -> None:
        self._size += len(part)
        self._check_body(self._size)
        if len(part) < _SMALL_BYTES:
            self._small += part
        else:
            self._gather()
            self._body.append(part)

    def _gather(self) -> None:
        if self._small:
            self._body.append(bytes(self._small))
            self._small = bytearray()

    def on_message_complete(self) -> None:
        if self._parser.should_upgrade():
            return
        request = self._current()
        self._gather()
        request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._request = None
        self._begin()
        self._hear(self._on_request, request)

    def _hear(self, callback: Callable[[Request], None], request: Request) -> None:
        try:
            callback(request)
        except HttpFault as fault:
            self._fault = fault
            raise

    def _check_framing(self, request: Request, version: str) -> None:
        """Nobody on the way may find another end of the request than we do."""
        if version not in _VERSIONS:
            self._refuse(400, f"The request speaks HTTP/{version[:8]}. Here 1.1 is spoken.")
        request.version = version.encode()
        request.keep_alive = request.keep_alive and version == "1.1"
        coding = request.header(b"transfer-encoding")
        if coding is not None and (coding.lower() != b"chunked" or version != "1.1"):
            self._refuse(400, "The only transfer-encoding that is understood is chunked, of HTTP/1.1.")

    def _check_body(self, size: int) -> None:
        limit = self._current().body_limit
        if size > limit:
            self._refuse(413, f"The request body is larger than {limit} bytes.")

    def _current(self) -> Request:
        assert self._request is not None  # noqa: S101 - the parser calls back only between begin and complete
        return self._request


def request_bytes(method: bytes, target: bytes, headers: Iterable[Header], body: bytes) -> bytes:
    """Head and body as one write, framed by content-length."""
    lines = [b"%b %b HTTP/1.1" % (method, target), *(b"%b: %b" % header for header in headers)]
    return b"\r\n".join((*lines, b"content-length: %d" % len(body), b"", body))


REFUSED_BY_NODE = "x-arw-refused"
"""Header of an answer that the agent gave because no engine did."""


def response_bytes(status: int, phrase: str, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
    """An answer of our own, as one write."""
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    head = "\r\n".join((*lines, f"content-length: {len(body)}", "", ""))
    return head.encode("latin-1", "replace") + body
