"""A real llama.cpp: the wheel behind its front, and llama-server when LLAMA_SERVER_BIN names one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from arwctl import tiny_projector
from arwctl.tiny_model import SENTENCE
from node_agent.domain.spec import DesiredState, EngineSettings
from node_agent.domain.status import InstanceState, InstanceStatus
from node_agent.runtimes.engines import FRONT
from node_agent.runtimes.kinds.flags import flags_of
from node_agent.runtimes.supervisor import LocalSupervisor
from tests.fakes.instance_specs import NAME, model_at
from tests.fakes.local_node import TIMERS, LocalNode, engine_pid, until, until_ready, until_state
from tests.fakes.lone_gateway import asking
from tests.fakes.patience import SLACK

pytestmark = pytest.mark.engine
pytest.importorskip("xllamacpp")

BINARY = os.environ.get("LLAMA_SERVER_BIN", "")
ENGINES = [FRONT, pytest.param(Path(BINARY), marks=pytest.mark.skipif(not BINARY, reason="LLAMA_SERVER_BIN is unset"))]
COMMAND = [sys.executable, "-I", str(FRONT)]


@pytest.fixture(params=ENGINES, ids=["wheel", "binary"])
async def ready_node(request: pytest.FixtureRequest, node: LocalNode) -> LocalNode:
    await node.trust(request.param)
    return node


def ask(supervisor: LocalSupervisor, path: str, body: dict[str, Any], key: str | None = None) -> tuple[int, Any]:
    door = supervisor.door(NAME)
    assert door is not None
    headers = {"authorization": f"Bearer {door.api_key if key is None else key}", "content-type": "application/json"}
    connection = http.client.HTTPConnection(door.host, door.port, timeout=20)
    with contextlib.closing(connection):
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.load(answer)


CHAT = {"model": "demo/tiny", "messages": [{"role": "user", "content": "hello"}], "temperature": 0}


async def test_it_answers_a_chat_with_its_key_and_not_without(ready_node: LocalNode) -> None:
    async with ready_node.agent(ready_node.spec()) as supervisor:
        await until_ready(supervisor)
        status, answer = await asyncio.to_thread(ask, supervisor, "/v1/chat/completions", CHAT)
        assert (status, answer["choices"][0]["message"]["content"].strip()) == (200, SENTENCE)
        assert (await asyncio.to_thread(ask, supervisor, "/v1/chat/completions", CHAT, "another"))[0] == 401


async def test_slots_and_context_are_as_asked(ready_node: LocalNode) -> None:
    settings = EngineSettings(
        slots=3, context_length=512, threads=1, batch_size=256, warm_up=False, kv_cache_type="q8_0"
    )
    async with ready_node.agent(ready_node.spec(settings=settings)) as supervisor:
        status = await until_ready(supervisor)
    assert status.detail == ("3 slots of 512 tokens",)
    assert (status.accelerator, status.accelerator_label) == ("cpu", "CPU")


async def test_embeddings_are_served_when_asked_for(ready_node: LocalNode) -> None:
    async with ready_node.agent(ready_node.spec(settings=EngineSettings(embeddings=True))) as supervisor:
        await until_ready(supervisor)
        _, answer = await asyncio.to_thread(ask, supervisor, "/v1/embeddings", {"model": "demo/tiny", "input": "hello"})
    assert len(answer["data"][0]["embedding"]) == 128


def picture(side: int = 56) -> str:
    """A grey PNG as a data URI."""
    rows = (b"\0" + b"\x80" * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts]
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()


SEEING = {"type": "image_url", "image_url": {"url": picture()}}


async def test_with_a_projector_it_takes_pictures(ready_node: LocalNode, tmp_path: Path) -> None:
    projector = model_at(tiny_projector.write(tmp_path / "projector.gguf"))
    message = {"role": "user", "content": [{"type": "text", "text": "hello"}, SEEING]}
    async with ready_node.agent(ready_node.spec(projector=projector)) as supervisor:
        await until_ready(supervisor)
        _, plain = await asyncio.to_thread(ask, supervisor, "/v1/chat/completions", CHAT)
        asked = CHAT | {"messages": [message]}
        status, answer = await asyncio.to_thread(ask, supervisor, "/v1/chat/completions", asked)
    assert (status, answer["choices"][0]["message"]["content"].strip()) == (200, SENTENCE)
    assert answer["usage"]["prompt_tokens"] >= plain["usage"]["prompt_tokens"] + 16


async def test_without_a_projector_a_picture_is_refused(ready_node: LocalNode) -> None:
    async with ready_node.agent(ready_node.spec()) as supervisor:
        await until_ready(supervisor)
        asked = CHAT | {"messages": [{"role": "user", "content": [SEEING]}]}
        status, _ = await asyncio.to_thread(ask, supervisor, "/v1/chat/completions", asked)
    assert status >= 400


async def test_a_model_is_no_projector(ready_node: LocalNode) -> None:
    async with ready_node.agent() as supervisor:
        problem = await supervisor.admit(ready_node.spec(projector=ready_node.model))
    assert problem is not None
    assert (problem.reason, "projector" in problem.text) == ("MODEL_FILE_INVALID", True)


async def test_a_missing_gpu_degrades_to_the_processor_and_says_so(ready_node: LocalNode) -> None:
    async with ready_node.agent(ready_node.spec(accelerator="gpu_rocm")) as supervisor:
        status = await until_state(supervisor, InstanceState.DEGRADED)
        assert supervisor.door(NAME) is not None
    assert (status.summary, status.accelerator) == ("Degraded - CPU fallback", "cpu")
    assert status.problem is not None
    assert status.problem.reason == "ACCELERATOR_MISSING"


async def test_a_killed_engine_answers_again(ready_node: LocalNode) -> None:
    async with ready_node.agent(ready_node.spec()) as supervisor:
        first = await until_ready(supervisor)
        os.kill(engine_pid(first), signal.SIGKILL)

        def again(status: InstanceStatus) -> bool:
            return status.state is InstanceState.READY and status.incarnation == first.incarnation + 1

        await until(supervisor, again)
        _, answer = await asyncio.to_thread(ask, supervisor, "/v1/chat/completions", CHAT)
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_no_request_fails_while_its_model_is_changed(ready_node: LocalNode, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    shutil.copy(ready_node.model.path, other)
    timers = replace(TIMERS, stop_grace=timedelta(seconds=10), start_base=timedelta(seconds=15))
    async with ready_node.agent(ready_node.spec(), timers=timers, free_memory=1 << 40) as supervisor:
        await until_ready(supervisor)
        async with asking(supervisor, NAME, CHAT | {"stream": True}, at_once=2) as gateway:
            supervisor.desire([ready_node.spec(generation=2, model=replace(model_at(other), name="models/other"))])
            await until(supervisor, lambda status: status.observed_generation == 2)
            await gateway.answered(5)
    assert gateway.answers.keys() == {"200"}


async def test_it_ends_on_sigterm_with_status_zero(ready_node: LocalNode) -> None:
    async with ready_node.agent(ready_node.spec()) as supervisor:
        await until_ready(supervisor)
        supervisor.desire([ready_node.spec(desired_state=DesiredState.STOPPED)])
        status = await until_state(supervisor, InstanceState.OFFLINE)
    assert status.last_exit is not None
    assert status.last_exit.exit_code == 0


def cut_in_half(whole: Path, half: Path) -> None:
    content = whole.read_bytes()
    half.write_bytes(content[: len(content) // 2])


async def test_a_truncated_model_is_named_as_the_reason(ready_node: LocalNode, tmp_path: Path) -> None:
    cut_in_half(Path(ready_node.model.path), tmp_path / "cut.gguf")
    model = type(ready_node.model)("models/cut", str(tmp_path / "cut.gguf"), "", 0)
    async with ready_node.agent(ready_node.spec(model=model)) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
    assert status.problem is not None
    assert status.problem.reason == "MODEL_FILE_INVALID"


def front(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=30, check=False)


def test_the_front_takes_every_option_that_it_lists() -> None:
    lines = [line for line in front("--help").stdout.splitlines() if line.startswith("-") and " VALUE" not in line]
    switches = flags_of("\n".join(lines)) - {"-h", "--help", "--version", "--list-devices"}
    assert {"--no-ui", "--no-kv-unified", "--offline", "--metrics"} <= switches
    refused = front(*switches, "--bogus")
    assert refused.stderr == "error: invalid argument: --bogus\n"


def test_the_front_answers_like_llama_server() -> None:
    assert front("--version").stderr.startswith("version: ")
    assert front("--list-devices").stdout.startswith("Available devices:\n")
    refused = front("--mlock")
    assert (refused.returncode, refused.stderr) == (1, "error: invalid argument: --mlock\n")


def test_the_front_says_why_a_model_cannot_be_loaded(tmp_path: Path) -> None:
    refused = front("--model", str(tmp_path / "gone.gguf"), "--port", "0")
    assert refused.returncode == 1
    assert "failed to open GGUF file" in refused.stderr


def test_the_front_tells_where_it_listens_and_ends_fast(tiny: Path) -> None:
    command = [*COMMAND, "--model", str(tiny), "--port", "0", "--ctx-size", "128", "--no-ui"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert next(line for line in process.stderr if "listening on http://127.0.0.1:" in line)
        time.sleep(0.2)
        began = time.monotonic()
        process.terminate()
        assert process.wait(10 * SLACK) == 0
        assert time.monotonic() - began < 2 * SLACK
