"""The official clients of other systems against a real gateway and a real llama.cpp.

`tiny-chat` speaks Anthropic's messages itself; `outside`, the same program attached as a stranger, is asked in chats.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest

from arw_client import ArwError, Context, connect
from arw_client.messages import InferRequest
from arwctl import tiny_model
from arwctl.local.ports import free_ports
from node_agent.runtimes.fronts import llama_wheel
from tests.fakes.world import MANIFEST, World, new_world

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
SENTENCE = "Hello from the tiny test model, which always says this."
EMBEDDINGS = """
[[runtimes]]
id = "tiny-embeddings"
adapter = "llama.cpp"
model = "tiny-chat"
auto_start = true
accelerator = "cpu"
[runtimes.settings]
context_length = 512
slots = 1
embeddings = true
pooling = "mean"
"""
RANKS = EMBEDDINGS.replace("tiny-embeddings", "tiny-ranks").replace('"mean"', '"rank"')
HELLO: Any = [{"role": "user", "content": "hello"}]
CLAUDES = ["tiny-chat", "outside"]


@contextmanager
def stranger(folder: Path) -> Iterator[str]:
    """A llama.cpp that nobody here started; its address."""
    model, port = folder / "tiny-chat.gguf", free_ports()["http-port"]
    words = ["-m", str(model), "--port", str(port), "-c", "1024", "-np", "2", "-a", "theirs"]
    with subprocess.Popen(
        [sys.executable, llama_wheel.__file__, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def served() -> Iterator[World]:
    with new_world() as world:
        tiny_model.write(world.folder / "tiny-chat.gguf")
        with stranger(world.folder) as address:
            world.up()
            world.apply(MANIFEST + EMBEDDINGS + RANKS)
            world.done("runtime", "attach", address, "--id", "outside", "--wait")
            yield world


@pytest.fixture(scope="module")
def door(served: World) -> tuple[str, str]:
    """The gateway's address, and a token."""
    context = json.loads((served.state / "context.json").read_text())
    return context["http_url"], context["token"]


@pytest.fixture(scope="module")
def of_openai(door: tuple[str, str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{door[0]}/v1", api_key=door[1], max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def claude(door: tuple[str, str]) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=door[0], api_key=door[1], max_retries=0) as client:
        yield client


def test_openai_chats_and_streams(of_openai: openai.OpenAI) -> None:
    chats = of_openai.chat.completions
    whole = chats.create(model="tiny-chat", messages=HELLO)
    assert whole.choices[0].message.content == SENTENCE
    pieces: Any = chats.create(model="tiny-chat", messages=HELLO, stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == SENTENCE
    assert "tiny-chat" in [model.id for model in of_openai.models.list()]


def test_openai_responses_and_embeddings(of_openai: openai.OpenAI) -> None:
    assert of_openai.responses.create(model="tiny-chat", input="hello").output_text == SENTENCE
    events = of_openai.responses.create(model="tiny-chat", input="hello", stream=True)
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == SENTENCE
    vectors = of_openai.embeddings.create(model="tiny-embeddings", input=["a", "b"]).data
    assert len(vectors) == 2
    assert len(vectors[0].embedding) == len(vectors[1].embedding) > 8


def test_documents_are_ranked(of_openai: openai.OpenAI) -> None:
    asked = {"query": "hello", "documents": ["one", "another"]}
    found: Any = of_openai.post("/rerank", body={"model": "tiny-ranks", **asked}, cast_to=object)
    assert {result["index"] for result in found["results"]} == {0, 1}
    with pytest.raises(openai.BadRequestError, match="cannot rank documents") as refused:
        of_openai.post("/rerank", body={"model": "tiny-chat", **asked}, cast_to=object)
    assert refused.value.body["remedy"] == "These can: outside, tiny-ranks."  # type: ignore[index]


def test_openai_hears_what_cannot_be_done(of_openai: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        of_openai.chat.completions.create(model="nobody", messages=HELLO)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.APIStatusError, match="cannot speak") as mute:
        of_openai.audio.speech.create(model="tiny-chat", voice="any", input="hello")
    assert (mute.value.status_code, mute.value.code) == (501, "no_engine")
    with pytest.raises(openai.BadRequestError, match="context size"):
        of_openai.chat.completions.create(model="tiny-chat", messages=[{"role": "user", "content": "hi " * 3000}])
    with pytest.raises(openai.AuthenticationError):
        of_openai.with_options(api_key="wrong").models.list()


@pytest.mark.parametrize("model", CLAUDES)
def test_anthropic_answers_whole_and_in_events(claude: anthropic.Anthropic, model: str) -> None:
    whole = claude.messages.create(model=model, max_tokens=64, system="Be brief.", messages=HELLO)
    assert [block.text for block in whole.content if block.type == "text"] == [SENTENCE]
    assert (whole.stop_reason, whole.usage.output_tokens > 5) == ("end_turn", True)
    with claude.messages.stream(model=model, max_tokens=64, messages=HELLO) as stream:
        assert "".join(stream.text_stream) == SENTENCE
        last = stream.get_final_message()
    assert (last.stop_reason, last.usage.output_tokens) == ("end_turn", whole.usage.output_tokens)
    assert claude.messages.create(model=model, max_tokens=3, messages=HELLO).stop_reason == "max_tokens"


@pytest.mark.parametrize("model", CLAUDES)
def test_anthropic_hears_what_went_wrong_in_its_own_shape(claude: anthropic.Anthropic, model: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match="context size") as long:
        claude.messages.create(model=model, max_tokens=8, messages=[{"role": "user", "content": "hi " * 3000}])
    assert long.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]
    picture = base64.b64encode(b"no picture").decode()
    source = {"type": "base64", "media_type": "image/png", "data": picture}
    turn: Any = {"role": "user", "content": [{"type": "image", "source": source}]}
    with pytest.raises(anthropic.APIStatusError, match="image input is not supported"):
        claude.messages.create(model=model, max_tokens=8, messages=[turn])


def test_anthropic_lists_models_and_counts_where_the_engine_can(claude: anthropic.Anthropic) -> None:
    assert "tiny-chat" in [model.id for model in claude.models.list()]
    assert claude.messages.count_tokens(model="tiny-chat", messages=HELLO).input_tokens > 3
    with pytest.raises(anthropic.BadRequestError, match="These can: tiny-chat"):
        claude.messages.count_tokens(model="outside", messages=HELLO)
    with pytest.raises(anthropic.NotFoundError, match="No runtime or model is named 'nobody'"):
        claude.messages.create(model="nobody", max_tokens=8, messages=HELLO)
    with pytest.raises(anthropic.AuthenticationError):
        claude.with_options(api_key="wrong").messages.create(model="tiny-chat", max_tokens=8, messages=HELLO)


@pytest.fixture(scope="module")
def llama(door: tuple[str, str]) -> ollama.Client:
    return ollama.Client(host=door[0], headers={"Authorization": f"Bearer {door[1]}"})


def test_ollama_lists_what_serves(llama: ollama.Client) -> None:
    assert {"tiny-chat", "outside", "tiny-embeddings"} <= {model.model for model in llama.list().models}
    assert "tiny-chat" in {model.model for model in llama.ps().models}
    assert llama.show("tiny-chat").capabilities == ["completion"]
    assert llama.show("tiny-embeddings").capabilities == ["embedding"]


def test_ollama_chats_and_generates_whole_and_in_lines(llama: ollama.Client) -> None:
    whole = llama.chat("tiny-chat", HELLO)
    assert (whole.message.content, whole.done_reason, whole.done) == (SENTENCE, "stop", True)
    lines = list(llama.chat("tiny-chat:latest", HELLO, stream=True, options={"num_predict": 64, "num_ctx": 512}))
    assert "".join(line.message.content or "" for line in lines) == SENTENCE
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    assert (lines[-1].eval_count, lines[-1].prompt_eval_count) == (whole.eval_count, whole.prompt_eval_count)
    assert llama.generate("outside", "hello", system="Be brief.").response == SENTENCE
    assert "".join(line.response or "" for line in llama.generate("outside", "hello", stream=True)) == SENTENCE
    assert llama.generate("tiny-chat", "").done_reason == "load"
    assert llama.generate("tiny-chat", "hello", options={"num_predict": 3}).done_reason == "length"


def test_ollama_embeds(llama: ollama.Client) -> None:
    both = llama.embed("tiny-embeddings", ["a", "b"]).embeddings
    assert len(both) == 2
    assert len(llama.embed("tiny-embeddings", "a").embeddings[0]) == len(both[0])


def test_ollama_hears_what_went_wrong_in_its_own_shape(llama: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="No runtime or model is named 'nobody'") as unknown:
        llama.chat("nobody", HELLO)
    assert unknown.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="context size"):
        llama.chat("tiny-chat", [{"role": "user", "content": "hi " * 3000}], stream=False)
    with pytest.raises(ollama.ResponseError, match="does not support embeddings"):
        llama.embed("tiny-chat", "a")
    with pytest.raises(ollama.ResponseError, match="not served here"):
        llama.pull("tiny-chat")


def test_more_at_once_than_it_has_slots_are_all_answered_in_turn(of_openai: openai.OpenAI) -> None:
    def chat(_: int) -> str:
        return of_openai.chat.completions.create(model="tiny-chat", messages=HELLO).choices[0].message.content or ""

    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(chat, range(6))) == {SENTENCE}


async def test_the_same_is_answered_over_grpc(served: World) -> None:
    asked = {"model": "tiny-chat", "messages": HELLO, "stream": True}
    request = InferRequest(path="/v1/chat/completions", body=json.dumps(asked).encode())
    async with connect(Context.load(served.state / "context.json")) as client:
        head, *pieces = [answer async for answer in client.inference.infer(request)]
        assert head.head is not None
        assert (head.head.status, head.head.content_type) == (200, "text/event-stream")
        body = b"".join(piece.chunk or b"" for piece in pieces)
        assert body.endswith(b"data: [DONE]\n\n")
        request.body = b"{}"
        with pytest.raises(ArwError, match="names no model"):
            _ = [answer async for answer in client.inference.infer(request)]
