from __future__ import annotations

import json

import pytest

from gateway.metering import Measure, tokens_in
from gateway.ports import Caller, Route, Tokens
from node_agent.relay.answers import Refused, answer
from tests.fakes.stub_engine import stream_pieces, timings, usage

ROUTE = Route("nodes/a/instances/b", "a", "system", 1, "b")
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def measure() -> Measure:
    return Measure(ROUTE, Caller("ops"), "/v1/chat/completions", streamed=True, trace_id="t")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (json.dumps({"usage": usage(5)}), Tokens(7, 5)),
        (json.dumps({"usage": None, "timings": timings(5)}), Tokens(7, 5)),
        (json.dumps({"timings": timings(5)}), Tokens(7, 5)),
        (json.dumps({"usage": {"prompt_tokens": 3, "total_tokens": 3}, "data": []}), Tokens(3, 0)),
        (json.dumps({"usage": {"input_tokens": 1, "cache_read_input_tokens": 10, "output_tokens": 4}}), Tokens(11, 4)),
        (json.dumps({"usage": {"input_tokens": 11, "output_tokens": 4, "input_tokens_details": {}}}), Tokens(11, 4)),
        (json.dumps({"usage": {"output_tokens": 4}}), None),
        (json.dumps({"usage": {"prompt_tokens": "3"}}), None),
        (json.dumps({"usage": {"prompt_tokens": -3}}), None),
        (json.dumps({"usage": {"prompt_tokens": True}}), None),
        ('{"usage": {"prompt_tok', None),
        ('"usage":' + "[" * 100_000, None),
        ("nothing", None),
    ],
)
def test_counts_are_the_engines_own(text: str, tokens: Tokens | None) -> None:
    assert tokens_in(text.encode()) == tokens


def test_the_last_counts_win() -> None:
    text = json.dumps({"usage": usage(1)}) + json.dumps({"usage": usage(9)})
    assert tokens_in(text.encode()) == Tokens(7, 9)


def test_the_events_of_a_message_count_the_prompt_first_and_the_answer_last() -> None:
    seen = measure()
    started = {"type": "message_start", "message": {"usage": {"input_tokens": 1, "cache_read_input_tokens": 6}}}
    seen.see(HEAD + b"data: " + json.dumps(started).encode() + b"\n\n")
    delta = b'data: {"delta":{"type":"text_delta","text":"hi"}}\n\n'
    for _ in range(1000):
        seen.see(delta)
    seen.see(b'data: {"type":"message_delta","usage":{"output_tokens":4}}\n\n')
    exchange = seen.exchange(200, complete=True, abandoned=False)
    assert exchange.tokens == Tokens(7, 4)
    assert exchange.first_token_ms is not None


def test_a_role_is_not_a_token_and_an_empty_piece_is_none_either() -> None:
    seen = measure()
    pieces = list(stream_pieces(1))
    seen.see(HEAD)
    seen.see(pieces[0])
    seen.see(b'data: {"choices":[{"delta":{"content":""}}]}')
    assert seen.exchange(200, complete=True, abandoned=False).first_token_ms is None
    seen.see(pieces[1])
    exchange = seen.exchange(200, complete=True, abandoned=False)
    assert exchange.first_token_ms is not None
    assert exchange.first_byte_ms is not None
    assert exchange.first_byte_ms <= exchange.first_token_ms


def test_an_exchange_names_the_key_and_the_project_that_asked() -> None:
    seen = Measure(ROUTE, Caller("k1", "ci", "team"), "/v1/completions", streamed=False, trace_id="t")
    exchange = seen.exchange(200, complete=True, abandoned=False)
    assert (exchange.caller, exchange.project) == ("k1", "team")


def test_a_long_answer_is_not_kept() -> None:
    seen = measure()
    for _ in range(1000):
        seen.see(b"x" * 1000)
    assert sum(map(len, seen._tail)) + len(seen._opening) < 64 * 1024
    for piece in stream_pieces(2):
        seen.see(piece)
    exchange = seen.exchange(200, complete=True, abandoned=False)
    assert exchange.tokens == Tokens(7, 2)
    assert exchange.bytes_out > 1_000_000


def test_an_engine_that_said_nothing_has_no_times() -> None:
    exchange = measure().exchange(0, complete=False, abandoned=False)
    assert (exchange.first_byte_ms, exchange.tokens, exchange.bytes_out) == (None, None, 0)


def test_an_answer_of_the_agent_is_told_from_one_that_an_engine_gave() -> None:
    def refused(*pieces: bytes) -> bool:
        measured = measure()
        for piece in pieces:
            measured.see(piece)
        return measured.exchange(503, complete=True, abandoned=False).refused_by_node

    assert refused(answer(Refused.NOT_SERVING, b"r1"))
    assert not refused(b"HTTP/1.1 503 Busy\r\ncontent-length: 30\r\n\r\n", b"\r\nx-arw-refused: in its own words")
    assert not refused(HEAD)
