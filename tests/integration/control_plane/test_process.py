"""The console command in processes of its own."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from arw_client import Client, Context, connect
from arw_client import messages as m
from arwctl.following import Following
from arwctl.local.process import running
from arwctl.screen import Screen

PATIENCE = 20
Command = Callable[..., Coroutine[Any, Any, asyncio.subprocess.Process]]


@pytest.fixture
async def command(state: Path) -> AsyncIterator[Command]:
    """Starts `arw-control-plane ARGUMENTS` on the test's state directory; ends what still runs."""
    started: list[asyncio.subprocess.Process] = []

    async def start(*arguments: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "control_plane.main", *arguments, "--state-dir", str(state)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "ARW_TIMERS": "test"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def initialised(command: Command, *arguments: str) -> None:
    ports = ("--grpc-port", "0", "--enrollment-port", "0", "--relay-port", "0", "--http-port", "0")
    process = await command("init", *(arguments or ports))
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


async def serving(command: Command, state: Path) -> asyncio.subprocess.Process:
    process = await command("run")
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE):
        while b'"event": "serving"' not in await process.stderr.readline():
            assert process.returncode is None
    found = running(state / "control_plane" / "run.json")
    assert found
    seen = (state / "control_plane" / "lock").stat()
    assert (found.pid, found.lock) == (process.pid, f"{seen.st_dev}:{seen.st_ino}")
    return process


async def refusal_of(process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(PATIENCE):
        _, errors = await process.communicate()
    assert process.returncode == 2, errors.decode()
    assert b"Traceback" not in errors
    return errors.decode()


async def test_a_refusal_is_two_marked_lines(command: Command) -> None:
    said = await refusal_of(await command("init", "--http-host", "0.0.0.0"))  # noqa: S104 - what is refused
    first, second = said.splitlines()[-2:]
    assert first.startswith("error: ")
    assert second.startswith("next:  ")


async def test_init_makes_a_private_context_file_and_keeps_it(command: Command, state: Path) -> None:
    await initialised(command)
    context = state / "context.json"
    before = context.read_bytes()
    await initialised(command, "--host", "127.0.0.1")
    assert context.stat().st_mode & 0o777 == 0o600
    assert (state / "control_plane" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert context.read_bytes() == before


async def test_a_lost_context_file_is_made_anew_and_the_old_credentials_end(command: Command, state: Path) -> None:
    await initialised(command)
    old = json.loads((state / "context.json").read_bytes())
    (state / "context.json").unlink()
    await initialised(command, "--host", "127.0.0.1")
    new = json.loads((state / "context.json").read_bytes())
    assert new["trust_domain"] == old["trust_domain"]
    assert new["token"] != old["token"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_good_order(command: Command, state: Path, number: signal.Signals) -> None:
    await initialised(command)
    process = await serving(command, state)
    process.send_signal(number)
    async with asyncio.timeout(PATIENCE):
        await process.communicate()
    assert process.returncode == 0
    assert not (state / "control_plane" / "run.json").exists()


async def test_it_takes_as_many_descriptors_as_the_system_allows(command: Command, state: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    await initialised(command)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        process = await serving(command, state)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (hard, hard)


async def test_a_second_one_on_the_same_state_says_who_runs(command: Command, state: Path) -> None:
    await initialised(command)
    process = await serving(command, state)
    assert f"process {process.pid}" in await refusal_of(await command("run"))


async def test_init_beside_a_running_one_changes_nothing_and_succeeds(command: Command, state: Path) -> None:
    await initialised(command)
    await serving(command, state)
    before = (state / "context.json").read_bytes()
    await initialised(command, "--host", "127.0.0.1")
    assert (state / "context.json").read_bytes() == before


async def test_a_killed_one_leaves_nothing_that_stops_the_next(command: Command, state: Path) -> None:
    await initialised(command)
    process = await serving(command, state)
    process.kill()
    await process.communicate()
    await serving(command, state)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_whoever_follows_the_events_hears_each_once_over_a_restart(
    command: Command, state: Path, number: signal.Signals
) -> None:
    await initialised(command)
    process = await serving(command, state)
    heard: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
    async with connect(Context.load(state / "context.json")) as client:
        follows = asyncio.create_task(_hearing(Following(client, Screen(), ["models."], pause_s=0.05), heard))
        await _until_follows(client, heard)
        process.send_signal(number)
        await process.communicate()
        await serving(command, state)
        for name in ("b", "c"):
            await _model(client, name)
        told = [await asyncio.wait_for(heard.get(), PATIENCE) for _ in range(2)]
        kept = (await client.state.list_events(m.ListEventsRequest(prefixes=["models."]))).events
        follows.cancel()
    assert [subject for _, subject in told] == ["models/b", "models/c"]
    assert [number for number, _ in told] == [event.id for event in kept][-2:]
    assert len({event.dedup_key for event in kept}) == len(kept)
    assert heard.empty()


async def _hearing(following: Following, heard: asyncio.Queue[tuple[int, str]]) -> None:
    async for event in following.events(None, 0):
        heard.put_nowait((event.id, event.subject))


async def _until_follows(client: Client, heard: asyncio.Queue[tuple[int, str]]) -> None:
    """An event is heard only once the follower has its place in the journal."""
    count = 0
    while heard.empty():
        await _model(client, f"early-{(count := count + 1)}")
    seen = ""
    while seen != f"models/early-{count}":
        _, seen = await asyncio.wait_for(heard.get(), PATIENCE)


async def _model(client: Client, name: str) -> None:
    model = m.Model(path="/m.gguf", sha256="ab" * 32, size_bytes=1, format="gguf")
    await client.models.create_model(m.CreateModelRequest(model_id=name, model=model))


async def test_a_taken_port_is_named_with_what_to_do(command: Command) -> None:
    await initialised(command)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        await initialised(command, "--grpc-port", str(port))
        said = await refusal_of(await command("run"))
    assert f"Port {port}" in said
    assert "--grpc-port" in said
    assert "ss -ltnp" in said


async def test_http_beyond_loopback_without_tls_is_refused(command: Command) -> None:
    assert "clear text" in await refusal_of(await command("init", "--http-host", "0.0.0.0"))  # noqa: S104 - the point


async def test_a_damaged_settings_file_is_named(command: Command, state: Path) -> None:
    await initialised(command)
    settings = state / "control_plane" / "settings.json"
    settings.write_text('{"grpc_prot": 1}')
    assert str(settings) in await refusal_of(await command("run"))
