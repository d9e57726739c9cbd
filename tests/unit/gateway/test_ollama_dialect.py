"""Ollama's requests as OpenAI's, and the answers back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.asking import read
from gateway.dialects.completion import completion
from gateway.dialects.ollama_answer import Embedding, OllamaTeller, Told
from gateway.dialects.ollama_models import running, shown, tags
from gateway.dialects.ollama_request import Chat, Embed, Generate, chat_body, embed_body, generate_body
from gateway.ports import ServedModel, Task
from gateway.refusals import BadRequest, EngineBroke, GatewayRefusal

HI = [{"role": "user", "content": "hi"}]
USAGE = {"prompt_tokens": 7, "completion_tokens": 3}
TIMINGS = {"prompt_ms": 1.5, "predicted_ms": 2}


def chat(**fields: Any) -> dict[str, Any]:
    body = json.dumps({"model": "tiny", "messages": HI, **fields}).encode()
    found: dict[str, Any] = json.loads(chat_body(read(body, Chat)))
    return found


def generate(**fields: Any) -> dict[str, Any]:
    body = json.dumps({"model": "tiny", "prompt": "hi", **fields}).encode()
    found: dict[str, Any] = json.loads(generate_body(read(body, Generate)))
    return found


def test_a_chat_streams_unless_it_is_told_not_to() -> None:
    assert chat() == {"model": "tiny", "messages": HI, "stream": True, "stream_options": {"include_usage": True}}
    assert chat(stream=False) == {"model": "tiny", "messages": HI, "stream": False}


def test_options_go_by_their_other_names_and_those_of_loading_are_left_out() -> None:
    given_options = {"num_predict": 5, "num_ctx": 9, "temperature": 0, "stop": ["x"], "repeat_penalty": 1.5}
    found = chat(options=given_options, keep_alive="5m", stream=False)
    assert {key: found[key] for key in found if key not in {"model", "messages", "stream"}} == {
        "max_tokens": 5,
        "temperature": 0,
        "stop": ["x"],
        "repeat_penalty": 1.5,
    }
    assert "max_tokens" not in chat(options={"num_predict": -1})


def test_a_format_is_a_response_format() -> None:
    assert chat(format="json")["response_format"] == {"type": "json_object"}
    schema = chat(format={"type": "object"})["response_format"]["json_schema"]
    assert schema["schema"] == {"type": "object"}


def test_pictures_are_told_by_their_first_bytes() -> None:
    (message,) = chat(messages=[{"role": "user", "content": "see", "images": ["/9j/AAAA"]}])["messages"]
    assert message["content"][1] == {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/AAAA"}}


def test_calls_of_tools_are_numbered_and_answered_by_name_and_in_order() -> None:
    def call(name: str) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": {"at": 1}}}

    found = chat(
        messages=[
            *HI,
            {"role": "assistant", "content": "", "tool_calls": [call("a"), call("b")]},
            {"role": "tool", "tool_name": "b", "content": "of b"},
            {"role": "tool", "content": "of a"},
        ],
        tools=[{"type": "function", "function": {"name": "a"}}],
    )["messages"]
    assert [one["id"] for one in found[1]["tool_calls"]] == ["call_1", "call_2"]
    assert [message["tool_call_id"] for message in found[2:]] == ["call_2", "call_1"]


def test_a_generation_is_a_chat_or_a_plain_completion() -> None:
    assert generate(system="Brief.")["messages"] == [{"role": "system", "content": "Brief."}, *HI]
    raw = generate(raw=True, stream=False)
    assert raw == {"model": "tiny", "prompt": "hi", "stream": False}


def test_embeddings_are_asked_for_as_numbers() -> None:
    body = embed_body(read(b'{"model": "tiny", "input": ["a", "b"], "dimensions": 4}', Embed))
    assert json.loads(body) == {"model": "tiny", "input": ["a", "b"], "encoding_format": "float", "dimensions": 4}
    assert json.loads(embed_body(read(b'{"model": "tiny", "prompt": "a"}', Embed)))["input"] == "a"


@pytest.mark.parametrize(
    ("ask", "fields", "why"),
    [
        (chat, {"messages": [{"role": "tool", "content": "x"}]}, "answers no call"),
        (chat, {"messages": [{"role": "user", "images": ["AAAA"]}]}, "no base64 of PNG"),
        (chat, {"format": "xml"}, "'xml' is not known"),
        (chat, {"options": {"temperature": "hot"}}, "no valid JSON request"),
        (generate, {"suffix": "x"}, "'suffix' cannot be asked"),
        (generate, {"context": [1]}, "'context' cannot be asked"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_and_not_left_out(ask: Any, fields: dict[str, Any], why: str) -> None:
    with pytest.raises(BadRequest, match=why) as raised:
        ask(**fields)
    assert raised.value.remedy


_value = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.text(max_size=4), max_size=2)
_names = st.sampled_from([*Chat.__struct_fields__, *Generate.__struct_fields__, *Embed.__struct_fields__])


@given(st.dictionaries(_names, _value | st.dictionaries(_names, _value, max_size=2), max_size=6))
def test_whatever_is_asked_the_answer_is_a_body_or_a_refusal(fields: dict[str, Any]) -> None:
    body = json.dumps(fields).encode()
    shapes: list[tuple[Any, Any]] = [(Chat, chat_body), (Generate, generate_body), (Embed, embed_body)]
    for shape, put in shapes:
        try:
            assert json.loads(put(read(body, shape)))
        except GatewayRefusal:
            continue


def piece(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_a_whole_chat_says_what_it_took_in_nanoseconds() -> None:
    message = {"content": "hello", "tool_calls": [{"function": {"name": "a", "arguments": '{"at": 1}'}}]}
    body = piece(choices=[{"message": message, "finish_reason": "length"}], usage=USAGE, timings=TIMINGS)
    found = OllamaTeller("tiny", Told.CHAT).whole(body)
    assert found["message"]["content"] == "hello"
    assert found["message"]["tool_calls"] == [{"function": {"name": "a", "arguments": {"at": 1}}}]
    assert (found["done"], found["done_reason"]) == (True, "length")
    assert (found["prompt_eval_count"], found["eval_count"]) == (7, 3)
    assert (found["prompt_eval_duration"], found["eval_duration"]) == (1_500_000, 2_000_000)


def test_a_plain_completion_is_a_response() -> None:
    found = OllamaTeller("tiny", Told.GENERATE).whole(piece(choices=[{"text": "hello"}], usage=USAGE))
    assert (found["response"], found["done_reason"]) == ("hello", "stop")


def test_a_stream_is_a_line_for_each_piece_and_a_last_one_with_the_calls() -> None:
    teller = OllamaTeller("tiny", Told.CHAT)
    half = [{"index": 0, "function": {"name": "a", "arguments": '{"at"'}}]
    rest = [{"index": 0, "function": {"arguments": ": 1}"}}]
    deltas = [{"role": "assistant"}, {"content": "hel"}, {"content": "lo"}, {"tool_calls": half}, {"tool_calls": rest}]
    said = [teller.more(completion(piece(choices=[{"delta": delta}]))) for delta in deltas]
    said += [teller.more(completion(piece(choices=[], usage=USAGE))), teller.closing()]
    lines = [json.loads(line) for line in b"".join(said).splitlines()]
    assert [line["message"]["content"] for line in lines] == ["hel", "lo", ""]
    assert [line["done"] for line in lines] == [False, False, True]
    assert lines[-1]["message"]["tool_calls"] == [{"function": {"name": "a", "arguments": {"at": 1}}}]
    assert lines[-1]["eval_count"] == 3


def test_embeddings_come_as_one_list_each_and_by_the_older_path_as_one() -> None:
    body = piece(data=[{"embedding": [0.5, 1.0]}, {"embedding": [0.25, 2.0]}], usage={"prompt_tokens": 4})
    found = Embedding("tiny", alone=False).whole(body)
    assert (found["embeddings"], found["prompt_eval_count"]) == ([[0.5, 1.0], [0.25, 2.0]], 4)
    assert Embedding("tiny", alone=True).whole(body) == {"embedding": [0.5, 1.0]}
    with pytest.raises(EngineBroke):
        Embedding("tiny", alone=False).whole(b"{}")


def test_what_serves_is_listed_with_what_it_can_do() -> None:
    sees = ServedModel("eye", 0, tasks=frozenset((Task.TEXT, Task.VISION)))
    hears = ServedModel("ear", 0, tasks=frozenset((Task.SPEECH,)))
    assert [one["model"] for one in tags([sees, hears])["models"]] == ["eye", "ear"]
    assert running([sees])["models"][0]["name"] == "eye"
    kinds = sees, hears, ServedModel("vec", 0, embeds=True)
    assert [shown(one)["capabilities"] for one in kinds] == [["completion", "vision"], [], ["embedding"]]
