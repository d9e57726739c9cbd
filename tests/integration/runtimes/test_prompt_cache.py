"""What a real llama.cpp's slots hold: read before the first request, kept over a planned restart, shared on disk."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arwctl import tiny_model
from node_agent.domain.limits import Limits
from node_agent.domain.spec import DesiredState, EngineSettings, InstanceName, InstanceSpec, RestoreOrder
from node_agent.domain.status import InstanceState, InstanceStatus
from node_agent.runtimes.engines import FRONT
from node_agent.runtimes.supervisor import LocalSupervisor
from tests.fakes.instance_specs import NAME, model_at
from tests.fakes.local_node import LocalNode, engine_pid, until, until_ready, until_state

pytestmark = pytest.mark.engine
pytest.importorskip("xllamacpp")

BINARY = os.environ.get("LLAMA_SERVER_BIN", "")
ENGINES = [FRONT, pytest.param(Path(BINARY), marks=pytest.mark.skipif(not BINARY, reason="LLAMA_SERVER_BIN is unset"))]
SYSTEM = "You are terse. " + "Rules are rules, and there are many of them. " * 20
OTHER = "You sing. " + "Every answer is a song, with a refrain after each verse. " * 20
SMALL = EngineSettings(slots=2, context_length=2048)
LEAST_CACHED = 100
A_FEW_PROBES_S = 0.7
"""It is seen idle between requests."""


@pytest.fixture(params=ENGINES, ids=["wheel", "binary"])
async def ready_node(request: pytest.FixtureRequest, node: LocalNode) -> LocalNode:
    await node.trust(request.param)
    return node


def asked(supervisor: LocalSupervisor, system: str, name: InstanceName = NAME, tokens: int = 4) -> int:
    """Tokens of the prompt that it had read before."""
    door = supervisor.door(name)
    assert door is not None
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "hello"}]
    body = json.dumps({"model": "demo/tiny", "messages": messages, "max_tokens": tokens, "ignore_eos": True})
    headers = {"authorization": f"Bearer {door.api_key}", "content-type": "application/json"}
    with contextlib.closing(http.client.HTTPConnection(door.host, door.port, timeout=20)) as connection:
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer: dict[str, Any] = json.load(connection.getresponse())
    return int(answer["timings"]["cache_n"])


async def cached(supervisor: LocalSupervisor, system: str, name: InstanceName = NAME) -> int:
    return await asyncio.to_thread(asked, supervisor, system, name)


def started(number: int) -> Callable[[InstanceStatus], bool]:
    return lambda status: status.state is InstanceState.READY and status.incarnation == number


def restored(spec: InstanceSpec) -> InstanceSpec:
    return replace(spec, restore=RestoreOrder(spec.restore.serial + 1, restart=True))


async def test_what_slots_hold_outlives_a_planned_restart(ready_node: LocalNode) -> None:
    spec = ready_node.spec(settings=SMALL)
    async with ready_node.agent(spec) as supervisor:
        first = await until_ready(supervisor)
        assert await cached(supervisor, SYSTEM) < LEAST_CACHED
        supervisor.desire([restored(spec)])
        again = await until(supervisor, started(2))
        assert "1 of 2 slots hold what they held before the restart" in again.detail
        assert await cached(supervisor, SYSTEM) > LEAST_CACHED
    assert (first.prompt_cache_warm, again.prompt_cache_warm) == (False, True)
    assert engine_pid(first) != engine_pid(again)
    assert not any((ready_node.home.scratch / ".slots").iterdir())


async def test_another_setting_keeps_what_slots_hold_and_another_model_does_not(
    ready_node: LocalNode, tmp_path: Path
) -> None:
    spec = ready_node.spec(settings=SMALL)
    async with ready_node.agent(spec) as supervisor:
        await until_ready(supervisor)
        await cached(supervisor, SYSTEM)
        spec = replace(spec, settings=replace(SMALL, threads=1, context_length=1024))
        supervisor.desire([spec])
        await until(supervisor, started(2))
        assert await cached(supervisor, SYSTEM) > LEAST_CACHED
        other = model_at(tiny_model.write(tmp_path / "other.gguf", tiny_model.Recipe(seed=8)))
        supervisor.desire([replace(spec, model=other)])
        third = await until(supervisor, started(3))
    assert third.prompt_cache_warm is False


async def test_an_engine_that_dies_begins_with_an_empty_cache_and_says_so(ready_node: LocalNode) -> None:
    async with ready_node.agent(ready_node.spec(settings=SMALL)) as supervisor:
        first = await until_ready(supervisor)
        await cached(supervisor, SYSTEM)
        await until(supervisor, lambda status: status.prompt_cache_warm is True)
        os.kill(engine_pid(first), signal.SIGKILL)
        again = await until(supervisor, started(2))
    assert again.prompt_cache_warm is False


async def test_prompts_are_read_before_it_counts_as_ready(ready_node: LocalNode) -> None:
    settings = replace(SMALL, warm_up_prompts=(SYSTEM, OTHER))
    async with ready_node.agent(ready_node.spec(settings=settings)) as supervisor:
        status = await until_ready(supervisor)
        assert await cached(supervisor, OTHER) > LEAST_CACHED
        assert await cached(supervisor, SYSTEM) > LEAST_CACHED
    assert status.detail == ("2 slots of 2048 tokens", "warmed up with 2 of 2 prompts")
    assert status.prompt_cache_warm is True
    told = [(seen.state, seen.summary) for seen in ready_node.history]
    assert (InstanceState.STARTING, "Warming up, prompt 2 of 2") in told


async def test_a_prompt_that_is_too_long_is_said_and_keeps_nothing_from_starting(ready_node: LocalNode) -> None:
    settings = replace(SMALL, warm_up_prompts=("word " * 3000, SYSTEM))
    async with ready_node.agent(ready_node.spec(settings=settings)) as supervisor:
        status = await until_ready(supervisor)
    assert "warmed up with 1 of 2 prompts" in status.detail
    assert any(line.startswith("Warm-up prompt 1 was not read: request (") for line in status.detail)


async def test_runtimes_that_share_a_cache_read_a_prompt_once(ready_node: LocalNode) -> None:
    settings = replace(SMALL, warm_up_prompts=(SYSTEM,), prompt_cache="songs")
    one = ready_node.spec(settings=settings)
    two = replace(one, name=InstanceName("nodes/n/instances/demo__two"))
    async with ready_node.agent(one) as supervisor:
        await until_ready(supervisor)
        folder = ready_node.path / "prompt_cache" / "songs"
        (file,) = folder.iterdir()
        written = file.stat().st_mtime_ns
        supervisor.desire([one, two])
        await until(supervisor, lambda status: status.name == two.name and status.state is InstanceState.READY)
        assert await cached(supervisor, SYSTEM, two.name) > LEAST_CACHED
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.iterdir()) == [file]
    assert file.stat().st_mtime_ns > written


async def test_a_spoilt_file_is_read_anew(ready_node: LocalNode) -> None:
    settings = replace(SMALL, warm_up_prompts=(SYSTEM,))
    spec = ready_node.spec(settings=settings)
    async with ready_node.agent(spec) as supervisor:
        await until_ready(supervisor)
        (file,) = (ready_node.home.scratch / ".slots").iterdir()
        whole = file.stat().st_size
        file.write_bytes(b"nothing that an engine reads")
        supervisor.desire([replace(spec, desired_state=DesiredState.STOPPED)])
        await until_state(supervisor, InstanceState.OFFLINE)
        supervisor.desire([spec])
        status = await until(supervisor, started(2))
        assert await cached(supervisor, SYSTEM) > LEAST_CACHED
    assert status.detail[1:] == ("warmed up with 1 of 1 prompts",)
    assert file.stat().st_size == whole


async def test_an_owner_who_wants_no_prompts_on_disk_has_none(ready_node: LocalNode) -> None:
    spec = ready_node.spec(settings=replace(SMALL, warm_up_prompts=(SYSTEM,)))
    async with ready_node.agent(spec, limits=lambda: Limits(prompt_cache_bytes=0)) as supervisor:
        await until_ready(supervisor)
        supervisor.desire([restored(spec)])
        status = await until(supervisor, started(2))
    assert status.detail[1:] == ("warmed up with 1 of 1 prompts",)
    assert not (ready_node.home.scratch / ".slots").exists()


async def test_speed_is_learnt_from_the_engines_own_counts(ready_node: LocalNode) -> None:
    model = Path(ready_node.model.path)
    digest = await asyncio.to_thread(ready_node.digests.sha256, str(model))
    spec = ready_node.spec(model=model_at(model, digest))

    def seen(status: InstanceStatus) -> bool:
        return status.footprint is not None and status.footprint.speeds.generated is not None

    async with ready_node.agent(spec) as supervisor:
        first = await until_ready(supervisor)
        assert not seen(first)
        told = asyncio.create_task(until(supervisor, seen))
        while not told.done():
            await asyncio.to_thread(asked, supervisor, "", tokens=100)
            await asyncio.wait([told], timeout=A_FEW_PROBES_S)
        footprint = told.result().footprint
    assert footprint is not None
    assert footprint.speeds.generated is not None
    assert footprint.speeds.generated > 1
    kept = ready_node.footprints.of(footprint.key)
    assert kept is not None
    assert kept.speeds == footprint.speeds


async def test_embeddings_have_no_prompt_cache(ready_node: LocalNode) -> None:
    async with ready_node.agent(ready_node.spec(settings=EngineSettings(embeddings=True))) as supervisor:
        assert (await until_ready(supervisor)).prompt_cache_warm is None
