from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.http_head import HttpFault, Limits, Request, RequestReader, request_bytes
from wire.response_watch import ResponseWatch

POST = (
    b"POST /v1/x?q=1 HTTP/1.1\r\nHost: a\r\nX-Arw-Claim: c\r\n"
    b"Connection: keep-alive, X-Gone\r\nX-Gone: 1\r\nX-Kept: 2\r\n"
)


def read(*pieces: bytes, limits: Limits | None = None) -> list[Request]:
    found: list[Request] = []
    reader = RequestReader(limits or Limits(), lambda _: None, found.append)
    for piece in pieces:
        reader.feed(piece)
    return found


def test_a_request_is_read_whole_and_loses_what_belongs_to_its_hop() -> None:
    (request,) = read(POST + b"Content-Length: 2\r\n\r\nhi")
    assert (request.method, request.path, request.origin_target, request.body) == (
        b"POST",
        b"/v1/x",
        b"/v1/x?q=1",
        b"hi",
    )
    assert request.end_to_end_headers() == [(b"host", b"a"), (b"x-kept", b"2")]


@given(st.integers(0, 60), st.integers(1, 60))
def test_it_does_not_matter_how_a_request_is_cut_into_reads(start: int, length: int) -> None:
    data = POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3\r\n yo\r\n0\r\n\r\n"
    (request,) = read(data[:start], *(data[at : at + length] for at in range(start, len(data), length)))
    assert request.body == b"hi yo"


def test_pipelined_requests_come_one_by_one() -> None:
    targets = [request.target for request in read(b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.0\r\n\r\n")]
    assert targets == [b"/a", b"/b"]


def test_an_absolute_target_counts_by_its_path() -> None:
    (request,) = read(b"GET http://host:1/a/b?c HTTP/1.1\r\n\r\n")
    assert (request.path, request.origin_target) == (b"/a/b", b"/a/b?c")


def test_an_offered_upgrade_keeps_its_body_and_what_follows() -> None:
    offer = b"POST /a HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nX: y\r\nContent-Length: 2\r\n\r\nhi"
    first, second = read(offer + b"GET /b HTTP/1.1\r\n\r\n")
    assert (first.body, first.end_to_end_headers(), second.target) == (b"hi", [(b"x", b"y")], b"/b")


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\n\r\n"], 431),
        ([b"GET / HTTP/1.1\r\na: ", *[b"b" * 300] * 5], 431),
        ([b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 11 + b"\r\n"], 431),
        ([b"POST / HTTP/1.1\r\ncontent-length: 101\r\n\r\n"], 413),
        ([b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n65\r\n" + b"x" * 101], 413),
        ([b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"t: " + b"x" * 2000 + b"\r\n\r\n"], 431),
        ([b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"], 400),
        ([b"GET / HTTP/1.1\r\na: b\r\n folded\r\n\r\n"], 400),
        ([b"\x00\x01\x02"], 400),
    ],
)
def test_what_breaks_a_limit_or_the_grammar_is_a_fault_with_a_status(pieces: list[bytes], status: int) -> None:
    with pytest.raises(HttpFault) as raised:
        read(*pieces, limits=Limits(head_bytes=1000, headers=10, body_bytes=100))
    assert raised.value.status == status


def test_a_body_limit_may_be_lowered_while_only_the_head_is_known() -> None:
    def lower(request: Request) -> None:
        request.body_limit = 1

    reader = RequestReader(Limits(), lower, lambda _: None)
    with pytest.raises(HttpFault, match="larger than 1 bytes"):
        reader.feed(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n")


def test_an_error_in_a_callback_is_not_taken_for_the_clients() -> None:
    def broken(_: Request) -> None:
        raise LookupError("ours")

    with pytest.raises(Exception, match="on_message_complete") as raised:
        RequestReader(Limits(), lambda _: None, broken).feed(b"GET / HTTP/1.1\r\n\r\n")
    assert isinstance(raised.value.__context__, LookupError)


def watched(data: bytes, method: bytes = b"POST") -> ResponseWatch:
    watch = ResponseWatch(method)
    for at in range(0, len(data), 7):
        watch.feed(data[at : at + 7])
    return watch


@pytest.mark.parametrize(
    ("data", "method", "keep_alive"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"POST", True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", b"POST", True),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi", b"POST", False),
        (b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"GET", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"HEAD", False),
    ],
)
def test_the_end_of_a_response_is_found(data: bytes, method: bytes, keep_alive: bool) -> None:
    watch = watched(data, method)
    assert (watch.status, watch.complete, watch.keep_alive, watch.surplus) == (200, True, keep_alive, False)
    assert not watched(data[:-1], method).complete


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\n", b"junk"])
def test_more_than_one_response_is_surplus(more: bytes) -> None:
    one = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
    assert not ResponseWatch().feed(one + more)
    watch = ResponseWatch()
    assert watch.feed(one)
    assert not watch.feed(more)


def test_a_message_is_framed_by_its_length() -> None:
    assert (
        request_bytes(b"POST", b"/a", [(b"x", b"y")], b"hi")
        == b"POST /a HTTP/1.1\r\nx: y\r\ncontent-length: 2\r\n\r\nhi"
    )
