"""What a newcomer gets wrong: each says what happened, what to do next, and ends with its own code."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from arwctl.local.leftovers import left
from tests.fakes.world import MANIFEST, World, new_world

pytestmark = pytest.mark.timeout(180)
AGENT = Path(sys.executable).with_name("arw-node-agent")


def assert_told(said: object, code: int, text: str, remedy: str) -> None:
    found = (getattr(said, "code", None), getattr(said, "err", ""))
    assert found[0] == code, found
    assert text in found[1], found
    after = found[1].partition("next:")[2]
    assert remedy in after, found


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    """One for all: what is refused changes nothing."""
    with new_world() as made:
        made.up()
        yield made


def applied(world: World, text: str) -> object:
    file = world.folder / "bad.toml"
    file.write_text(text)
    return world.arwctl("runtime", "apply", "-f", file)


def test_no_control_plane_is_running(world: World) -> None:
    assert_told(world.arwctl("runtime", "status"), 3, "There is no context file", "arwctl up")


def test_a_stopped_control_plane_is_named_with_its_address(world: World) -> None:
    world.up()
    world.done("down")
    said = world.arwctl("chat", "-m", "tiny-chat", "hello")
    assert_told(said, 3, "Nothing answers at http://127.0.0.1:", "arwctl up")
    assert_told(world.arwctl("nodes", "list"), 3, "No control plane answers at 127.0.0.1:", "arwctl up")


def test_up_three_times_at_once_starts_the_machine_once(world: World) -> None:
    with ThreadPoolExecutor(3) as several:
        said = [each.result() for each in [several.submit(world.arwctl, *world.up_words(), "-d") for _ in range(3)]]
    assert [each.code for each in said] == [0, 0, 0], said
    assert sorted(each.err.count("control plane: started") for each in said) == [0, 0, 1]
    assert sum("waiting for it" in each.err for each in said) == 2
    assert len(left(world.state)) == 2


def test_an_unknown_manifest_key_is_named_with_its_place(running: World) -> None:
    text = MANIFEST.replace("auto_start", "autostart").partition("[[runtimes]]")[2]
    said = applied(running, f"version = 1\n[[runtimes]]{text}")
    assert_told(said, 1, "autostart", "Correct")


def test_a_bad_id_is_named_with_the_rule(running: World) -> None:
    said = applied(running, 'version = 1\n[[runtimes]]\nid = "Tiny Chat"\nadapter = "llama.cpp"\nmodel = "m"\n')
    assert_told(said, 1, "line 3: runtimes[0].id: 'Tiny Chat' is no valid runtime id (Use 1 to 128 of a-z", "Correct")


def test_a_missing_model_file_is_named_with_its_path(running: World) -> None:
    (running.folder / "tiny-chat.gguf").unlink(missing_ok=True)
    assert_told(applied(running, MANIFEST), 1, "There is no model file at", "tiny_model")


def test_a_file_that_is_not_gguf_is_refused(running: World) -> None:
    (running.folder / "tiny-chat.gguf").write_bytes(b"\x7fELF nonsense")
    assert_told(applied(running, MANIFEST), 1, "is no GGUF file", "Download it again")


def test_an_unknown_runtime_is_named(running: World) -> None:
    for words in (["runtime", "restore", "ghost"], ["runtime", "logs", "ghost"], ["chat", "-m", "ghost", "hello"]):
        said = running.arwctl(*words)
        assert_told(said, 1, "ghost", "untime")


def test_a_port_that_is_taken_is_named(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        world.ports["grpc-port"] = taken.getsockname()[1]
        said = world.arwctl(*world.up_words(), "--detach")
        assert_told(said, 1, str(world.ports["grpc-port"]), "port")
    assert left(world.state) == {}


def joined(world: World, folder: str, token: str) -> subprocess.CompletedProcess[str]:
    server = f"127.0.0.1:{world.ports['enrollment-port']}"
    return subprocess.run(
        [AGENT, "join", "--state-dir", world.folder / folder, "--server", server],
        input=f"{token}\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", ""])
def test_a_wrong_token_is_refused(running: World, token: str) -> None:
    done = joined(running, "other", token)
    assert done.returncode not in {0, -9}
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 2, "what happened, and what to do next"
    assert not (running.folder / "other" / "node_agent" / "identity.json").exists()


def test_a_used_token_is_refused(running: World) -> None:
    token = running.done("nodes", "token", "create").strip()
    first, second = joined(running, "first", token), joined(running, "second", token)
    assert first.returncode == 0, first.stderr
    assert second.returncode != 0
    assert "used" in second.stderr


def test_wrong_usage_ends_with_code_2(world: World) -> None:
    for words in (["nonsense"], ["runtime", "apply"], ["chat", "hello"], ["runtime", "restore"]):
        said = world.arwctl(*words)
        assert said.code == 2, words
        assert "--help" in said.err
