"""A whole tour with known secrets, and then a search for them everywhere but in the files made to hold them."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from control_plane.http.documents import DOCUMENTS
from tests.fakes.processes import AgentProcess, environment
from tests.fakes.world import World, new_world

pytestmark = [pytest.mark.engine, pytest.mark.timeout(150)]
KEEPERS = {"context.json", "api.key", "node.key", "next.key", "ca.key", "server.key"}
"""Files that exist to hold a secret; each is for this user alone."""


@pytest.fixture
def world() -> Iterator[World]:
    with new_world() as made:
        yield made


class ProcessWatch:
    """Arguments and environment of every process that lived meanwhile, however shortly."""

    def __init__(self) -> None:
        self.seen: dict[bytes, str] = {}
        self._over = threading.Event()
        self._rounds = 0

    @contextmanager
    def watching(self) -> Iterator[ProcessWatch]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()
            assert self._rounds > 10

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self._rounds += 1
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    self._look(entry)

    def _look(self, entry: Path) -> None:
        for name in ("cmdline", "environ"):
            try:
                self.seen.setdefault((entry / name).read_bytes(), f"{name} of {entry.name}")
            except OSError:
                continue


class Tour:
    """What a person does in a day, with all that was said kept."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.said: dict[bytes, str] = {}
        self.tokens: list[str] = []

    def run(self) -> None:
        self.world.up()
        self.world.apply()
        self._say("chat", "-m", "tiny-chat", "hello")
        for _ in range(2):
            self.tokens.append(self.world.done("nodes", "token", "create").strip())
        self._join_another(self.tokens[0])
        self._refuse(self.tokens[0])
        for words in (
            "nodes list -o json",
            "nodes show n2 -o json",
            "runtime list -o json",
            "runtime status --json",
            "runtime explain tiny-chat",
            "runtime logs tiny-chat",
            "model list -o json",
            "events -o json",
            "nodes token list -o json",
            "version",
        ):
            self._say(*words.split())
        self._read_over_http()
        self._say("runtime", "shutdown", "tiny-chat")
        self._say("runtime", "restore", "tiny-chat")

    def _say(self, *words: str) -> None:
        said = self.world.arwctl(*words)
        assert said.code == 0, (words, said.err)
        self.said[(said.out + said.err).encode()] = f"arwctl {' '.join(words)}"

    def _join_another(self, token: str) -> None:
        other = self.world.folder / "other"
        other.mkdir()
        agent = AgentProcess(other, environment())
        joined = agent.join(f"127.0.0.1:{self.world.ports['enrollment-port']}", token, "--name", "n2")
        assert joined.returncode == 0, joined.stderr
        agent.start()
        agent.until_link("in_sync")
        status = agent.command("status", "--output", "json")
        agent.end()
        for name, text in (("join", joined.stdout + joined.stderr), ("status", status.stdout + status.stderr)):
            self.said[text.encode()] = f"arw-node-agent {name}"

    def _refuse(self, token: str) -> None:
        agent = AgentProcess(self.world.folder / "other", environment())
        again = agent.join(f"127.0.0.1:{self.world.ports['enrollment-port']}", token, "--force")
        assert again.returncode == 2
        self.said[(again.stdout + again.stderr).encode()] = "arw-node-agent join with a used token"

    def _read_over_http(self) -> None:
        token = json.loads((self.world.state / "context.json").read_text())["token"]
        for path in ("/v1/models", "/events", "/openapi.json", *(document.path for document in DOCUMENTS)):
            connection = http.client.HTTPConnection("127.0.0.1", int(self.world.ports["http-port"]), timeout=5)
            connection.request("GET", path, headers={"authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            assert answer.status == 200, path
            self.said[answer.read1(1_000_000)] = path
            connection.close()


def secrets_of(tour: Tour) -> dict[bytes, str]:
    """Every form of each secret that could turn up, with its name."""
    world = tour.world
    context = json.loads((world.state / "context.json").read_text())
    found = {token.split(".")[1].encode(): "a join token's secret" for token in tour.tokens}
    found[context["token"].split(".")[1].encode()] = "the operator's token"
    keys = [*world.folder.rglob("*.key")]
    assert {path.name for path in keys} >= {"ca.key", "server.key", "node.key", "api.key"}
    for path in keys:
        found |= forms(path.read_bytes(), str(path.name))
    return found | forms(context["key_pem"].encode(), "the operator's key")


def forms(content: bytes, name: str) -> dict[bytes, str]:
    """A key as it stands in PEM, and as the bytes within; any other secret as it is."""
    lines = content.strip().splitlines()
    if not lines[0].startswith(b"-----BEGIN"):
        return {content.strip(): name}
    der = base64.b64decode(b"".join(lines[1:-1]))
    return {lines[1][:48]: f"{name}, PEM", lines[2][:48]: f"{name}, PEM", der[36:68]: f"{name}, DER"}


def leaks(places: dict[bytes, str], secrets: dict[bytes, str]) -> list[str]:
    return [f"{secret} in {place}" for text, place in places.items() for key, secret in secrets.items() if key in text]


def files(world: World) -> dict[bytes, str]:
    found = [path for path in world.folder.rglob("*") if path.is_file() and path.name not in KEEPERS]
    assert {"arw.db", "agent.db", "control-plane.log", "node-agent.log"} <= {path.name for path in found}
    return {content: str(path) for path in found if (content := content_of(path)) is not None}


def content_of(path: Path) -> bytes | None:
    """None: it was written under this name only to be renamed, and has been."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def test_t30_no_secret_is_anywhere_but_in_its_own_file(world: World) -> None:
    tour, watch = Tour(world), ProcessWatch()
    with watch.watching():
        tour.run()
    secrets = secrets_of(tour)
    assert len(secrets) >= 12
    assert min(map(len, secrets)) >= 16
    assert leaks(watch.seen, secrets) == []
    assert leaks(tour.said, secrets) == []
    assert leaks(files(world), secrets) == []
    for path in world.folder.rglob("*"):
        if path.name in KEEPERS:
            assert path.stat().st_mode & 0o077 == 0, path

    # The search can find: what stands for the secrets in the database is their hash.
    database = b"".join(path.read_bytes() for path in (world.state / "control_plane").glob("arw.db*"))
    for token in tour.tokens:
        assert hashlib.sha256(token.split(".")[1].encode()).hexdigest().encode() in database
    assert b"tiny-chat" in b"".join(watch.seen)
