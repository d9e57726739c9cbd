"""Anthropic's messages as chat completions, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.anthropic_answer import AnthropicTeller
from gateway.dialects.anthropic_request import Messages, as_chat
from gateway.dialects.asking import read
from gateway.dialects.completion import completion
from gateway.dialects.errors import Fault
from gateway.refusals import BadRequest, EngineBroke, GatewayRefusal

PIXEL = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}


def asked(**fields: Any) -> dict[str, Any]:
    body = json.dumps({"model": "tiny", "max_tokens": 9, "messages": [turn("hi")], **fields})
    found: dict[str, Any] = json.loads(as_chat(read(body.encode(), Messages)))
    return found


def turn(content: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": content}


def test_a_plain_request_becomes_a_chat_with_the_system_first() -> None:
    assert asked(system="Be brief.", temperature=0.5, top_k=3, stop_sequences=["x"], metadata={"user_id": "u"}) == {
        "model": "tiny",
        "messages": [turn("Be brief.", "system"), turn("hi")],
        "stream": False,
        "max_tokens": 9,
        "temperature": 0.5,
        "top_k": 3,
        "stop": ["x"],
    }


def test_a_stream_is_asked_to_count_at_its_end() -> None:
    assert asked(stream=True)["stream_options"] == {"include_usage": True}


def test_pictures_go_as_addresses_and_text_blocks_alone_as_text() -> None:
    blocks = [{"type": "text", "text": "see"}, {"type": "image", "source": PIXEL}]
    (message,) = asked(messages=[turn(blocks)])["messages"]
    assert message["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ]
    (message,) = asked(messages=[turn([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])])["messages"]
    assert message["content"] == "a\nb"


def test_calls_of_tools_and_their_results_keep_their_ids_and_their_order() -> None:
    called = [{"type": "text", "text": "I look."}, {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}}]
    result = [{"type": "text", "text": "and?"}, {"type": "tool_result", "tool_use_id": "t1", "content": "a cat"}]
    found = asked(
        messages=[turn("hi"), turn(called, "assistant"), turn(result)],
        tools=[{"name": "look", "input_schema": {"type": "object"}}],
        tool_choice={"type": "any"},
    )
    assert found["messages"][1]["tool_calls"] == [
        {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}}
    ]
    assert found["messages"][2:] == [{"role": "tool", "tool_call_id": "t1", "content": "a cat"}, turn("and?")]
    assert found["tools"][0]["function"] == {"name": "look", "parameters": {"type": "object"}}
    assert found["tool_choice"] == "required"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"messages": [turn("hi", "system")]}, "role"),
        ({"messages": [turn([{"type": "document"}])]}, "'document' cannot be put"),
        ({"messages": [turn([{"type": "image", "source": {"type": "file"}}])]}, "source 'file'"),
        ({"messages": "hi"}, "no valid JSON request"),
        ({"messages": [{"role": "user"}]}, "no valid JSON request"),
        ({"tools": [{"name": "web_search", "type": "web_search_20250305"}]}, "runs at Anthropic"),
        ({"tools": [{"name": "x", "input_schema": {}}], "tool_choice": {"type": "some"}}, "tool_choice"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_and_not_left_out(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(BadRequest, match=why) as raised:
        asked(**fields)
    assert raised.value.remedy


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_blocks = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "image", "tool_use", "tool_result", "thinking", "other"])},
        optional={"text": _json, "source": _json, "id": _json, "content": _json, "input": _json, "tool_use_id": _json},
    ),
    max_size=3,
)


@given(
    st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "x"]), "content": _blocks | _json})),
    st.dictionaries(st.sampled_from(["system", "tools", "tool_choice", "stream", "max_tokens"]), _json),
)
def test_whatever_is_asked_the_answer_is_a_chat_or_a_refusal(messages: Any, fields: Any) -> None:
    try:
        found = asked(messages=messages, **fields)
    except GatewayRefusal:
        return
    assert {"model", "messages", "stream"} <= set(found)


def whole(**message: Any) -> dict[str, Any]:
    body = {"choices": [{"message": message, "finish_reason": message.pop("finish", "stop")}], "usage": USAGE}
    found: dict[str, Any] = AnthropicTeller("tiny", "r1").whole(json.dumps(body).encode())
    return found


USAGE = {"prompt_tokens": 7, "completion_tokens": 3}
CALL = {"id": "c1", "function": {"name": "look", "arguments": '{"at": 1}'}}


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("tool_calls", "tool_use"), (None, "end_turn")],
)
def test_a_whole_answer_says_why_it_ended_and_what_it_took(finish: str | None, reason: str) -> None:
    found = whole(content="hello", finish=finish)
    assert (found["type"], found["role"], found["model"], found["id"]) == ("message", "assistant", "tiny", "msg_r1")
    assert found["content"] == [{"type": "text", "text": "hello"}]
    assert (found["stop_reason"], found["usage"]) == (reason, {"input_tokens": 7, "output_tokens": 3})


def test_thoughts_and_calls_are_blocks_of_their_own() -> None:
    found = whole(content=None, reasoning_content="hm", tool_calls=[CALL])
    assert found["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": 1}},
    ]


def events(*deltas: dict[str, Any], finish: str = "stop") -> list[dict[str, Any]]:
    teller = AnthropicTeller("tiny", "r1")
    said = [teller.opening()]
    said += [teller.more(completion(json.dumps({"choices": [{"delta": delta}]}).encode())) for delta in deltas]
    last = {"choices": [{"delta": {}, "finish_reason": finish}]}
    said += [teller.more(completion(json.dumps(piece).encode())) for piece in (last, {"choices": [], "usage": USAGE})]
    lines = b"".join([*said, teller.closing()]).decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_a_stream_opens_and_shuts_each_block_and_counts_at_its_end() -> None:
    told = events({"role": "assistant", "content": None}, {"content": "hel"}, {"content": "lo"}, finish="length")
    assert [event["type"] for event in told] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert told[-2]["delta"]["stop_reason"] == "max_tokens"
    assert told[-2]["usage"] == {"input_tokens": 7, "output_tokens": 3}


def test_thoughts_text_and_calls_of_a_stream_are_blocks_with_numbers_of_their_own() -> None:
    first = {"index": 0, "id": "c1", "function": {"name": "look", "arguments": '{"at'}}
    more = {"index": 0, "function": {"arguments": '": 1}'}}
    other = {"index": 1, "id": "c2", "function": {"name": "go", "arguments": "{}"}}
    told = events(
        {"reasoning_content": "hm"}, {"content": "so"}, {"tool_calls": [first]}, {"tool_calls": [more, other]}
    )
    starts = [event["content_block"]["type"] for event in told if event["type"] == "content_block_start"]
    assert starts == ["thinking", "text", "tool_use", "tool_use"]
    deltas = [event for event in told if event["type"] == "content_block_delta"]
    assert "".join(event["delta"]["partial_json"] for event in deltas if event["index"] == 2) == '{"at": 1}'
    assert [event["index"] for event in told if event["type"] == "content_block_stop"] == [0, 1, 2, 3]


def test_a_broken_stream_ends_in_an_error_event() -> None:
    said = AnthropicTeller("tiny", "r1").broken(Fault(502, "It broke.", "Again.")).decode()
    assert said.startswith("event: error\ndata: ")
    assert json.loads(said.splitlines()[1].removeprefix("data: "))["error"] == {
        "type": "api_error",
        "message": "It broke. Again.",
    }


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"choices": []}', b'{"choices": [{"message": {"content": 3}}]}', b"\xff"]
)
def test_an_answer_that_makes_no_sense_is_the_engines_fault(body: bytes) -> None:
    with pytest.raises(EngineBroke):
        AnthropicTeller("tiny", "r1").whole(body)
