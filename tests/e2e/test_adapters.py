"""Programs and servers beside llama.cpp, through real processes and the command line."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from arwctl import tiny_model
from arwctl.local.ports import free_ports
from arwctl.tiny_model import SENTENCE
from node_agent.runtimes.engines import FRONT
from tests.fakes import fake_program, owner_file
from tests.fakes.world import World

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
pytest.importorskip("xllamacpp")

PROGRAM = """\
version = 1
[[runtimes]]
id = "any-program"
adapter = "process"
auto_start = true
[runtimes.process]
command = ["{program}", "--port", "{{port}}"]
health = {{ path = "/healthz", expect_body = "all well" }}
"""


@contextmanager
def somebodys_llama_server(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A llama.cpp that a person started by hand, under a name of their own; and its address."""
    port = next(iter(free_ports().values()))
    model = tiny_model.write(folder / "theirs.gguf")
    command = [sys.executable, "-I", str(FRONT), "-m", str(model), "--alias", "theirs", "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def answered(url: str) -> Any:
    host, port = url.removeprefix("http://").split(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=5)) as connection:
        connection.request("GET", "/v1/models")
        return json.load(connection.getresponse())


def test_a_server_that_runs_already_answers_through_arw_and_outlives_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.up()
    with somebodys_llama_server(world.folder) as (theirs, url):
        monkeypatch.setenv("ARW_LLAMA_URL", url)
        world.done("runtime", "attach", "--id", "legacy", "--wait")
        assert world.done("chat", "-m", "legacy", "hello").strip() == SENTENCE
        assert not world.instance().get("engine_pid")
        world.done("runtime", "shutdown", "legacy")
        world.until(lambda: world.instance()["state"] == "offline", "detached")
        world.done("down")
        assert theirs.poll() is None
        assert answered(url)["data"][0]["id"] == "theirs"


def test_a_program_runs_once_its_owner_trusts_it_and_is_stopped_with_the_rest(world: World) -> None:
    program = world.folder / "program"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {fake_program.__file__} "$@"\n')
    program.chmod(0o700)
    owner_file.write(world.state)
    world.up()
    manifest = world.folder / "program.toml"
    manifest.write_text(PROGRAM.format(program=program))
    world.done("runtime", "apply", "-f", manifest)
    explained = world.done("runtime", "explain", "any-program")
    assert "arw-node-agent trust process" in explained
    agent = Path(sys.executable).with_name("arw-node-agent")
    assert world.command(agent, "trust", "process", program).code == 0
    world.until(lambda: world.instance().get("state") == "ready", "ready once trusted")
    pid = world.instance()["engine_pid"]
    listed = json.loads(world.done("runtime", "adapters", "list", "--output", "json"))
    engines = next(one["engines"] for one in listed if one["id"] == "process")
    assert [engine["path"] for engine in engines] == [str(program)]
    world.done("down")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
