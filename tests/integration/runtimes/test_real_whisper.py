"""A real whisper.cpp under supervision: the wheel behind its front, and whisper-server when one is named."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arwctl.tiny_speech_model import SENTENCE, write
from node_agent.domain.errors import EngineIdentityMismatch
from node_agent.domain.spec import DesiredState, EngineSettings, InstanceSpec
from node_agent.domain.status import InstanceState, InstanceStatus
from node_agent.runtimes.kinds.whisper_cpp import WhisperCpp
from node_agent.runtimes.kinds.whisper_files import FRONT, WHISPER_CPP
from node_agent.runtimes.supervisor import LocalSupervisor
from tests.fakes.forms import FORM, upload
from tests.fakes.instance_specs import NAME
from tests.fakes.local_node import TIMERS, LocalNode, engine_pid, until, until_ready, until_state
from tests.fakes.sounds import wav

pytest.importorskip("_pywhispercpp")

BINARY = os.environ.get("WHISPER_SERVER_BIN", "")
ENGINES = [
    FRONT,
    pytest.param(Path(BINARY), marks=pytest.mark.skipif(not BINARY, reason="WHISPER_SERVER_BIN is unset")),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("model") / "tiny.bin")


@pytest.fixture(params=ENGINES, ids=["wheel", "binary"])
async def hearing(request: pytest.FixtureRequest, tmp_path: Path, model: Path) -> AsyncIterator[LocalNode]:
    node = LocalNode(tmp_path, model)
    await node.trust(request.param, WHISPER_CPP)
    yield node
    await node.clean_up()


def speech(node: LocalNode, **changes: Any) -> InstanceSpec:
    return node.spec(adapter=WHISPER_CPP, **changes)


def transcribe(supervisor: LocalSupervisor, key: str | None = None) -> tuple[int, Any]:
    door = supervisor.door(NAME)
    assert door is not None
    headers = {"authorization": f"Bearer {door.api_key if key is None else key}", "content-type": FORM}
    connection = http.client.HTTPConnection(door.host, door.port, timeout=20)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/audio/transcriptions", upload(wav(3.0)), headers)
        answer = connection.getresponse()
        return answer.status, json.load(answer)


async def test_it_transcribes_and_says_what_it_uses(hearing: LocalNode) -> None:
    async with hearing.agent(speech(hearing)) as supervisor:
        status = await until_ready(supervisor)
        code, answer = await asyncio.to_thread(transcribe, supervisor)
    assert (code, answer["text"].split()) == (200, SENTENCE.split())
    assert (status.accelerator, status.accelerator_label) == ("cpu", "CPU")


async def test_a_killed_engine_hears_again(hearing: LocalNode) -> None:
    async with hearing.agent(speech(hearing)) as supervisor:
        first = await until_ready(supervisor)
        os.kill(engine_pid(first), signal.SIGKILL)

        def again(status: InstanceStatus) -> bool:
            return status.state is InstanceState.READY and status.incarnation == first.incarnation + 1

        await until(supervisor, again)
        assert (await asyncio.to_thread(transcribe, supervisor))[0] == 200


async def test_it_ends_on_sigterm_with_status_zero(hearing: LocalNode) -> None:
    async with hearing.agent(speech(hearing)) as supervisor:
        await until_ready(supervisor)
        supervisor.desire([speech(hearing, desired_state=DesiredState.STOPPED)])
        status = await until_state(supervisor, InstanceState.OFFLINE)
    assert status.last_exit is not None
    assert status.last_exit.exit_code == 0


async def test_a_missing_gpu_degrades_to_the_processor_and_says_so(hearing: LocalNode) -> None:
    async with hearing.agent(speech(hearing, accelerator="gpu_cuda")) as supervisor:
        status = await until_state(supervisor, InstanceState.DEGRADED)
        assert (await asyncio.to_thread(transcribe, supervisor))[0] == 200
    assert (status.summary, status.accelerator) == ("Degraded - CPU fallback", "cpu")


@pytest.fixture
def half(model: Path, tmp_path: Path) -> Path:
    cut = tmp_path / "half.bin"
    cut.write_bytes(model.read_bytes()[:2_000_000])
    return cut


async def test_a_model_that_was_cut_off_is_named_as_the_reason(hearing: LocalNode, half: Path) -> None:
    model = replace(hearing.model, path=str(half), size_bytes=0)
    async with hearing.agent(speech(hearing, model=model)) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
    assert status.problem is not None
    assert status.problem.reason == "MODEL_FILE_INVALID"


async def test_a_model_of_another_kind_is_refused_before_anything_starts(hearing: LocalNode, tiny: Path) -> None:
    model = replace(hearing.model, path=str(tiny), size_bytes=0)
    async with hearing.agent(speech(hearing, model=model)) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
    assert status.problem is not None
    assert status.problem.reason == "MODEL_FILE_INVALID"
    assert "whisper.cpp cannot load it" in status.problem.text


async def test_the_wheel_turns_away_who_has_another_key_and_is_known_by_its_own(tmp_path: Path, model: Path) -> None:
    node = LocalNode(tmp_path, model)
    await node.trust(FRONT, WHISPER_CPP)
    spec = speech(node, settings=EngineSettings(threads=1, warm_up=False))
    try:
        async with node.agent(spec) as supervisor:
            await until_ready(supervisor)
            assert (await asyncio.to_thread(transcribe, supervisor, "another"))[0] == 401
            door = supervisor.door(NAME)
            assert door is not None
            for one, key in ((spec, "another"), (replace(spec, runtime_id="demo/other"), door.api_key)):
                with pytest.raises(EngineIdentityMismatch):
                    await WhisperCpp().prove(one, door.port, key, TIMERS.probe_timeout)
    finally:
        await node.clean_up()
