"""An engine's bytes in, a client's bytes out, however they are cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.anthropic_answer import AnthropicTeller
from gateway.dialects.errors import ANTHROPIC, OLLAMA, PROBLEM, Fault, engine_fault
from gateway.dialects.events import MAX_EVENT_BYTES
from gateway.dialects.ollama_answer import OllamaTeller, Told
from gateway.dialects.rendering import PassedOn, Rendering, Translated
from gateway.refusals import EngineBroke, EngineSilent
from node_agent.relay.answers import Refused, answer
from tests.fakes.stub_engine import chunk, stream_pieces, tokens
from wire.response_watch import ResponseWatch

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def for_anthropic() -> Rendering:
    teller = AnthropicTeller("tiny", "r1")
    return Translated("r1", ANTHROPIC, teller.whole, teller)


def for_ollama() -> Rendering:
    teller = OllamaTeller("tiny", Told.CHAT)
    return Translated("r1", OLLAMA, teller.whole, teller)


def reply(status: int, value: Any, headers: str = "") -> bytes:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def rendered(made: Rendering, pieces: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Head and unframed body, which must be one whole response."""
    watch, said = ResponseWatch(), b"".join(made.feed(piece) for piece in pieces)
    assert watch.feed(said)
    assert watch.complete
    head, _, body = said.partition(b"\r\n\r\n")
    return head, unframed(body) if b"chunked" in head else body


def unframed(body: bytes) -> bytes:
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        found, body = found + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return found


@given(st.lists(st.integers(1, 400), max_size=30), st.integers(0, 12))
def test_however_a_stream_is_cut_into_pieces_all_of_it_is_told(cuts: list[int], count: int) -> None:
    said, pieces = STREAM + b"".join(stream_pieces(count)), []
    for cut in cuts:
        pieces.append(said[:cut])
        said = said[cut:]
    head, body = rendered(for_ollama(), [*filter(None, pieces), *filter(None, [said])])
    lines = [json.loads(line) for line in body.splitlines()]
    assert b"application/x-ndjson" in head
    assert "".join(line["message"]["content"] for line in lines) == "".join(tokens(count))
    assert lines[-1]["done"]
    assert lines[-1]["eval_count"] == count


def test_each_piece_is_told_as_it_comes() -> None:
    made = for_anthropic()
    opened = made.feed(STREAM)
    assert b"message_start" in opened
    assert all(made.feed(piece) for piece in list(stream_pieces(3))[1:4])


def test_a_whole_answer_is_told_whole_when_all_of_it_is_there() -> None:
    made, data = for_anthropic(), reply(200, {"choices": [{"message": {"content": "hello"}}]})
    assert made.feed(data[:-5]) == b""
    assert not made.begun
    assert json.loads(made.feed(data[-5:]).partition(b"\r\n\r\n")[2])["content"][0]["text"] == "hello"


@pytest.mark.parametrize("make", [for_anthropic, for_ollama, lambda: PassedOn("r1", ANTHROPIC)])
@pytest.mark.parametrize("status", [400, 429, 499, 500, 599])
def test_an_engines_refusal_keeps_its_status_and_words_in_the_clients_shape(
    make: Callable[[], Rendering], status: int
) -> None:
    data = reply(status, {"error": {"code": status, "message": "Too long.", "type": "x"}}, "retry-after: 3\r\n")
    head, body = rendered(make(), [data[:20], data[20:]])
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"retry-after: 3" in head
    assert b"x-request-id: r1" in head
    error = json.loads(body)["error"]
    assert (error if isinstance(error, str) else error["message"]) == "Too long."


def test_the_agents_refusal_keeps_its_mark_its_remedy_and_when_to_come_back() -> None:
    head, body = rendered(for_ollama(), [answer(Refused.STOPPING, b"r1")])
    assert b"x-arw-refused: stopping" in head
    assert b"retry-after: 2" in head
    assert json.loads(body) == {"error": "The runtime is being stopped. Try again in a moment."}


def test_an_answer_of_an_engine_that_speaks_the_dialect_passes_byte_for_byte() -> None:
    said = STREAM + b"".join(stream_pieces(4))
    made = PassedOn("r1", ANTHROPIC)
    assert b"".join(made.feed(said[at : at + 7]) for at in range(0, len(said), 7)) == said


@pytest.mark.parametrize(
    "said",
    [
        STREAM + chunk(b"data: {nonsense\n\n"),
        STREAM + chunk(b'data: {"choices": 3}\n\n'),
        STREAM + chunk(b"data: \xff\n\n"),
        STREAM + chunk(b"x" * (MAX_EVENT_BYTES + 1)),
        reply(200, b"nonsense"),
        reply(200, {"choices": []}),
        reply(204, b""),
        reply(302, b""),
    ],
)
def test_what_makes_no_sense_is_never_told_as_an_answer(said: bytes) -> None:
    made = for_anthropic()
    with pytest.raises(EngineBroke):
        made.feed(said)
    assert not made.begun


def test_an_engine_that_breaks_off_with_an_error_is_told_in_the_stream_and_once() -> None:
    made = for_ollama()
    pieces = [STREAM, *list(stream_pieces(2))[:2], chunk(b'data: {"error": {"message": "Out of memory."}}\n\n')]
    _, body = rendered(made, [*pieces, chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"])
    assert json.loads(body.splitlines()[-1]) == {"error": "Out of memory."}
    assert body.count(b"error") == 1
    assert made.cut_short(EngineSilent("Late.")) == b""


def test_a_stream_that_is_cut_short_ends_in_a_typed_error() -> None:
    made = for_anthropic()
    for piece in [STREAM, *list(stream_pieces(5))[:3]]:
        made.feed(piece)
    last = made.cut_short(EngineSilent("The engine stopped.", "Again."))
    assert b"event: error" in last
    assert b"The engine stopped. Again." in last
    assert last.endswith(b"0\r\n\r\n")


def test_calls_whose_arguments_are_no_json_end_a_stream_of_lines_in_an_error() -> None:
    made, call = for_ollama(), {"tool_calls": [{"index": 0, "function": {"name": "a", "arguments": "{"}}]}
    made.feed(STREAM + chunk(b"data: " + json.dumps({"choices": [{"delta": call}]}).encode() + b"\n\n"))
    with pytest.raises(EngineBroke) as raised:
        made.feed(b"0\r\n\r\n")
    assert b"cannot be read" in made.cut_short(raised.value)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": "plain"}', "plain"),
        (b'{"error": {"message": "m"}}', "m"),
        (b"<h1>No</h1>", "<h1>No</h1>"),
        (b"", "Bad Gateway"),
        (b"\xff", "�"),
    ],
)
def test_an_error_in_any_shape_is_read_for_its_words(body: bytes, text: str) -> None:
    assert engine_fault(502, body).text == text


def test_a_problem_says_its_type() -> None:
    head, body = rendered(PassedOn("r1", PROBLEM), [reply(400, {"error": {"message": "No WAV."}})])
    assert b"application/problem+json" in head
    assert json.loads(body)["detail"] == "No WAV."
    assert Fault(400, "No WAV.").words == "No WAV."
