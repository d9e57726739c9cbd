"""Three replicas of the control plane on one PostgreSQL, killed, stopped and cut off, with a real agent and engine."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from arwctl.local.leftovers import left
from arwctl.local.ports import free_ports
from arwctl.tiny_model import SENTENCE
from control_plane.use_cases.lost_history import HISTORY_CHANGED, JUMP
from tests.fakes.drilled import AGENT, CONTROL_PLANE, Drilled, Engine, drilled, freeze, kill_hard, manifest, thaw
from tests.fakes.postgres import PostgresServer, postgres_server
from tests.fakes.processes import ControlPlaneProcess
from tests.fakes.unruly_proxy import UnrulyProxy
from tests.fakes.world import ARWCTL

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]


@dataclass(slots=True)
class Replica(ControlPlaneProcess):
    """One more control plane on the same database."""

    def arwctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        env = {**self.env, "ARW_CONTEXT": str(self.state / "context.json"), "ARW_STATE_DIR": str(self.state)}
        return subprocess.run([ARWCTL, *words], env=env, capture_output=True, text=True, timeout=60, check=False)

    def replicas(self) -> list[dict[str, Any]]:
        """As it knows them."""
        said = self.arwctl("state", "replicas", "-o", "json")
        assert said.returncode == 0, said.stderr
        found: list[dict[str, Any]] = json.loads(said.stdout)
        return found

    def leaders(self) -> list[str]:
        """The addresses of those that lead."""
        return [each["grpc_address"] for each in self.replicas() if each.get("leads")]

    @property
    def address(self) -> str:
        found: str = json.loads((self.state / "context.json").read_text())["grpc_address"]
        return found

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid


@dataclass(frozen=True, slots=True)
class Site:
    """The first replica, its agent and its engine are the world's."""

    world: Drilled
    server: PostgresServer
    b: Replica
    c: Replica
    line: UnrulyProxy
    """Between c and the database."""

    @property
    def a(self) -> str:
        """The address of the first one."""
        return str(self.world.context.grpc_address)

    def all_there(self) -> bool:
        return len([replica for replica in self.b.replicas() if replica["grpc_address"]]) == 3

    def pid_of(self, address: str) -> int:
        by_address = {self.a: self.world.control_plane_pid, self.b.address: self.b.pid, self.c.address: self.c.pid}
        return by_address[address]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with postgres_server() as server, drilled() as world:
        url = server.new_database()
        secret = world.folder / "secret"
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_urlsafe(48))
        shared = ["--authority-secret-file", str(secret), "--database"]
        said = world.command(CONTROL_PLANE, "init", "--state-dir", world.state, *shared, url)
        assert said.code == 0, said.err
        world.begin("one")
        (port, *_) = free_ports().values()
        line = UnrulyProxy([(("127.0.0.1", int(port)), server.folder / ".s.PGSQL.5432")])
        with line.running():
            b, c = (Replica(world.folder / name) for name in ("b", "c"))
            for replica, address in ((b, url), (c, _through(url, int(port)))):
                replica.state.mkdir(mode=0o700)
                replica.initialise(*shared, address)
                replica.start()
            made = Site(world, server, b, c, line)
            world.until(made.all_there, "three replicas", 10)
            yield made
            for replica in (b, c):
                replica.end(signal.SIGTERM)
            world.done("down")
            assert left(world.state) == {}


def _through(url: str, port: int) -> str:
    return f"{url.partition('?')[0].replace('@', f'@127.0.0.1:{port}')}"


@pytest.fixture
def engines(site: Site) -> Iterator[dict[str, Engine]]:
    """Before and after each drill the same engine serves, and everybody is there."""
    before = site.world.engines()
    assert list(before) == ["one"]
    yield before
    assert site.world.engines() == before
    site.world.until(site.all_there, "three replicas", 15)
    assert site.world.states()["one"] == "ready"


def chat(replica: Replica) -> str:
    said = replica.arwctl("chat", "-m", "one", "--wait", "10s", "hello")
    assert said.returncode == 0, said.stderr
    return said.stdout.strip()


def test_every_replica_serves_what_one_of_them_has(site: Site, engines: dict[str, Engine]) -> None:
    for replica in (site.b, site.c):
        assert chat(replica) == SENTENCE
        logs = replica.arwctl("runtime", "logs", "one", "--tail", "5")
        assert logs.returncode == 0, logs.stderr
        assert logs.stdout.strip(), "a log comes to whichever replica asks"
    assert engines


def test_f22_the_agent_of_a_killed_replica_goes_to_another_and_its_engine_runs_on(
    site: Site, engines: dict[str, Engine]
) -> None:
    world, epoch = site.world, site.world.link()["session_epoch"]
    has_agent = world.link()["server"]
    kill_hard(site.pid_of(has_agent))
    asked = site.c if has_agent == site.b.address else site.b
    world.until_in_sync(epoch)
    assert world.link()["session_epoch"] == epoch + 1
    assert chat(asked) == SENTENCE
    world.until(lambda: asked.leaders() not in ([], [has_agent]), "another one leading", 10)
    restart(site, has_agent)
    world.until(site.all_there, "all three again", 10)
    assert chat(asked) == SENTENCE
    assert "offline" not in [event["payload"]["state"] for event in events(asked, "cluster.node.changed")]
    assert engines


def test_f24_a_leader_that_stood_still_leads_no_more(site: Site, engines: dict[str, Engine]) -> None:
    world, (leader,) = site.world, site.b.leaders()
    pid, asked = site.pid_of(leader), site.c if leader == site.b.address else site.b
    freeze(pid)
    try:
        world.until(lambda: asked.leaders() not in ([], [leader]), "another one leading", 30)
        file = world.folder / "two.toml"
        file.write_text(manifest("two", model=""))
        said = asked.arwctl("runtime", "apply", "-f", str(file))
        assert said.returncode == 0, said.stderr
        world.until(lambda: placed(asked, "two") == 1, "its place", 15)
    finally:
        thaw(pid)
    world.until(lambda: len(asked.leaders()) == 1 and leader not in asked.leaders(), "one leader, not the old one", 15)
    assert placed(asked, "two") == 1, "placed once, by one leader"
    assert asked.arwctl("runtime", "delete", "two").returncode == 0
    world.until(lambda: list(world.engines()) == ["one"], "the end of the second engine", 20)
    assert engines


def test_f23_a_replica_cut_from_the_database_sends_its_agent_to_another(site: Site, engines: dict[str, Engine]) -> None:
    world = site.world
    while (elsewhere := world.link()["server"]) != site.c.address:
        # So that its agent comes to the one that can be cut off.
        epoch = world.link()["session_epoch"]
        kill_hard(site.pid_of(elsewhere))
        world.until_in_sync(epoch)
    epoch = world.link()["session_epoch"]
    for address in (site.a, site.b.address):
        if not alive(site, address):
            restart(site, address)
    world.until(site.all_there, "all three again", 10)
    site.line.silence()
    try:
        world.until_in_sync(epoch, 30)
        assert world.link()["server"] != site.c.address
        assert chat(site.b) == SENTENCE
    finally:
        site.line.heal()
    world.until(site.all_there, "c back", 30)
    assert chat(site.c) == SENTENCE
    assert engines


def test_f29_replicas_whose_database_lost_its_last_commits_begin_one_new_history(
    site: Site, engines: dict[str, Engine]
) -> None:
    world, pids = site.world, [site.pid_of(address) for address in (site.a, site.b.address, site.c.address)]
    site.server.put_aside()
    world.until(lambda: all(map(answers, (site.b, site.c))), "the database", 20)
    declare(site.b, "later")
    declare(site.c, "latest")
    world.until(lambda: placed(site.b, "latest") == 1, "its place", 10)
    site.server.put_back()
    world.until(lambda: answers(site.c) and "HISTORY_CHANGED" in problems(site.c), "a node that asks", 40)
    assert world.engines() == engines
    (changed,) = events(site.b, HISTORY_CHANGED)
    assert events(site.c, HISTORY_CHANGED) == [changed], "once, however many noticed"
    agreed = world.command(AGENT, "accept-history", changed["payload"]["history"], "--state-dir", world.state)
    assert agreed.code == 0, agreed.err
    world.until_in_sync(JUMP, 30)
    assert [site.pid_of(address) for address in (site.a, site.b.address, site.c.address)] == pids
    world.until(lambda: len(site.b.leaders()) == 1 and site.b.leaders() == site.c.leaders(), "one leader", 15)
    declare(site.c, "later")
    world.until(lambda: placed(site.b, "later") == 1, "its place", 15)
    assert site.b.arwctl("runtime", "delete", "later").returncode == 0
    assert chat(site.b) == chat(site.c) == SENTENCE


def answers(replica: Replica) -> bool:
    return replica.arwctl("nodes", "list").returncode == 0


def problems(replica: Replica) -> list[str]:
    """Reasons that the only node gives, as this replica knows them."""
    said = replica.arwctl("nodes", "list", "-o", "json")
    return [problem["reason"].upper() for node in json.loads(said.stdout) for problem in node.get("problems", [])]


def declare(replica: Replica, name: str) -> None:
    file = replica.state / f"{name}.toml"
    file.write_text(manifest(name, auto_start=False, model=""))
    said = replica.arwctl("runtime", "apply", "-f", str(file))
    assert said.returncode == 0, said.stderr


def alive(site: Site, address: str) -> bool:
    if address == site.a:
        return site.world.control_plane_pid != 0
    replica = site.b if address == site.b.address else site.c
    return replica.process is not None and replica.process.poll() is None


def restart(site: Site, address: str) -> None:
    """One that was killed."""
    if address == site.a:
        site.world.start_control_plane()
        return
    replica = site.b if address == site.b.address else site.c
    replica.end()
    replica.start()


def placed(replica: Replica, runtime: str) -> int:
    """How often."""
    return sum(event["payload"]["runtime"] == runtime for event in events(replica, "runtime.placed"))


def events(replica: Replica, prefix: str) -> list[Any]:
    said = replica.arwctl("events", "--prefix", prefix, "--limit", "1000", "-o", "json")
    assert said.returncode == 0, said.stderr
    found: list[Any] = json.loads(said.stdout)
    return found
