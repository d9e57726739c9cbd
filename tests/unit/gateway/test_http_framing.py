"""Whatever arrives, what is handed on is one request, and the one that was meant: judged by another parser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wire.http_head import OWN_PREFIX, HttpFault, Limits, Request, RequestReader, request_bytes

LIMITS = Limits(head_bytes=2000, headers=12, body_bytes=3000)
HEAD = b"POST /v1/x HTTP/1.1\r\nhost: a\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Meant:
    """One request as its sender means it, and a way to write it."""

    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    cuts: tuple[int, ...] | None
    """Lengths of chunks; None: framed by content-length."""
    trailer: bytes = b""

    @property
    def wire(self) -> bytes:
        lines = [b"POST %b HTTP/1.1" % self.target, *(b"%b: %b" % header for header in self.headers)]
        if self.cuts is None:
            return b"\r\n".join((*lines, b"content-length: %d" % len(self.body), b"", self.body))
        return b"\r\n".join((*lines, b"Transfer-Encoding: chunked", b"", self._chunks(self.cuts)))

    def _chunks(self, cuts: Sequence[int]) -> bytes:
        pieces, left = [], self.body
        for cut in cuts:
            if piece := left[:cut]:
                pieces.append(b"%x;a=b\r\n%b\r\n" % (len(piece), piece))
            left = left[cut:]
        last = b"%X\r\n%b\r\n" % (len(left), left) if left else b""
        return b"".join((*pieces, last, b"0\r\n", self.trailer, b"\r\n"))


NAMES = st.from_regex(rb"x-[a-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True).filter(
    lambda n: not n.startswith(OWN_PREFIX)
)
VALUES = st.from_regex(rb"[!-~\x80-\xff]([ \t!-~\x80-\xff]{0,20}[!-~\x80-\xff])?", fullmatch=True)
MEANT = st.builds(
    Meant,
    st.from_regex(rb"/[a-zA-Z0-9/._~%?&=;:@!$'()*+,-]{0,40}", fullmatch=True),
    st.lists(st.tuples(NAMES, VALUES), max_size=5).map(tuple),
    st.binary(max_size=200) | st.just(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
    st.none() | st.lists(st.integers(1, 40), max_size=6).map(tuple),
    st.sampled_from((b"", b"x-late: 1\r\n", b"x-arw-claim: forged\r\n")),
)
CUTS = st.lists(st.integers(1, 60), max_size=12)


def read(data: bytes, cuts: Sequence[int] = ()) -> list[Request]:
    found: list[Request] = []
    reader = RequestReader(LIMITS, lambda _: None, found.append)
    for cut in (*cuts, len(data)):
        piece, data = data[:cut], data[cut:]
        reader.feed(piece)
    return found


def sent(request: Request) -> bytes:
    """What goes on to the node."""
    return request_bytes(request.method, request.origin_target, request.end_to_end_headers(), request.body)


def understood(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Method, target and body of each whole request, in the words of another parser."""
    other = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    other.receive_data(data)
    found: list[tuple[bytes, bytes, bytes]] = []
    while isinstance(head := other.next_event(), h11.Request):
        body = b""
        while isinstance(piece := other.next_event(), h11.Data):
            body += bytes(piece.data)
        if not isinstance(piece, h11.EndOfMessage):
            break
        found.append((head.method, head.target, body))
        if other.their_state is not h11.DONE:
            break
        other.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
        other.send(h11.EndOfMessage())
        if other.our_state is not h11.DONE:
            break
        other.start_next_cycle()
    return found


@settings(deadline=None)
@given(st.lists(MEANT, min_size=1, max_size=3), CUTS)
def test_what_is_handed_on_is_what_was_meant_however_it_was_framed_and_cut(meant: list[Meant], cuts: list[int]) -> None:
    requests = read(b"".join(each.wire for each in meant), cuts)
    assert [(request.target, request.body) for request in requests] == [(each.target, each.body) for each in meant]
    for each, request in zip(meant, requests, strict=True):
        assert request.end_to_end_headers() == list(each.headers)
        assert [request.body for request in read(sent(request))] == [each.body]


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """Sound requests with a few bytes put in, taken out or changed where a parser looks."""
    data = b"".join(each.wire for each in draw(st.lists(MEANT, min_size=1, max_size=2)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        gone = draw(st.integers(0, 3))
        more = draw(st.sampled_from(SPOILERS) | st.binary(max_size=3))
        data = data[:at] + more + data[at + gone :]
    return data


SPOILERS = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b"0\r\n\r\n", b"\r\n\r\n", b"\r\ncontent-length: 3\r\n",
    b"\r\ntransfer-encoding: chunked\r\n", b"\r\nTransfer-Encoding : chunked\r\n", b"\r\nContent-Length: +1\r\n",
    b"\r\nconnection: close\r\n", b"\r\nconnection: upgrade\r\nupgrade: h2c\r\n", b"HTTP/1.0", b"\x0b", b"\xff",
)  # fmt: skip


@settings(deadline=None)
@given(spoilt(), CUTS)
def test_of_spoilt_bytes_nothing_is_handed_on_that_two_could_read_in_two_ways(data: bytes, cuts: list[int]) -> None:
    try:
        requests = read(data, cuts)
    except HttpFault:
        return
    for request in requests:
        again = sent(request)
        (same,) = read(again)
        assert (same.origin_target, same.body) == (request.origin_target, request.body)
        assert not any(set(b"\r\n\0") & set(part) for header in request.headers for part in header)
        _agrees(again, request)


def _agrees(data: bytes, request: Request) -> None:
    try:
        found = understood(data)
    except h11.RemoteProtocolError:
        # The other knows fewer methods and targets.
        return
    assert found == [(request.method, request.origin_target, request.body)]


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: identity\r\ncontent-length: 2\r\n\r\nhi",
        HEAD.replace(b"1.1", b"1.0") + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/x\r\n\r\n",
        b"POST /v1/x HTTP/0.9\r\n\r\n",
    ],
)
def test_an_end_that_another_could_see_elsewhere_is_refused(data: bytes) -> None:
    with pytest.raises(HttpFault) as raised:
        read(data)
    assert raised.value.status == 400


def test_every_connection_header_says_what_belongs_to_its_hop() -> None:
    (request,) = read(
        b"GET / HTTP/1.1\r\nconnection: close\r\nx-a: 1\r\nconnection: x-a, x-b\r\nx-b: 2\r\nx-c: 3\r\n\r\n"
    )
    assert request.end_to_end_headers() == [(b"x-c", b"3")]


def test_trailers_after_a_body_larger_than_a_head_are_taken_and_dropped() -> None:
    body = b"y" * 2500
    (request,) = read(CHUNKED + b"%x\r\n%b\r\n0\r\nx-late: 1\r\nx-arw-claim: 2\r\n\r\n" % (len(body), body))
    assert (request.body, request.end_to_end_headers()) == (body, [(b"host", b"a")])


@pytest.mark.parametrize("endless", [b"0\r\nx: ", b"1;", b"1\r\ny\r\n0\r\n"])
def test_framing_without_an_end_is_not_read_on(endless: bytes) -> None:
    reader = RequestReader(LIMITS, lambda _: None, lambda _: None)
    reader.feed(CHUNKED + endless)
    with pytest.raises(HttpFault) as raised:
        for _ in range(1000):
            reader.feed(b"a: b\r\n" * 20 if endless.endswith(b"\n") else b"z" * 100)
    assert raised.value.status == 431


def test_a_body_of_single_bytes_is_taken_and_costs_its_own_size() -> None:
    found: list[Request] = []
    reader = RequestReader(LIMITS, lambda _: None, found.append)
    reader.feed(CHUNKED)
    for _ in range(3000):
        reader.feed(b"1\r\ny\r\n")
        assert reader.held <= 3000
    reader.feed(b"0\r\n\r\n")
    assert found[0].body == b"y" * 3000


def test_an_old_client_is_served_once_a_connection() -> None:
    (request,) = read(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
    assert (request.version, request.keep_alive) == (b"1.0", False)
