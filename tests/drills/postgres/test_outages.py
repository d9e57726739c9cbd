"""PostgreSQL killed, held up and cut off, while a control plane, an agent and an engine live on it."""

from __future__ import annotations

import asyncio
import json
import signal
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import grpc
import psycopg
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status

from arw.v1 import node_service_pb2
from arw_client import ArwError, connect
from arw_client import messages as m
from arwctl.local.leftovers import left
from arwctl.tiny_model import SENTENCE
from tests.fakes.drilled import CONTROL_PLANE, Drilled, Engine, drilled, kill_hard, manifest
from tests.fakes.postgres import PostgresServer, postgres_server
from tests.fakes.processes import ControlPlaneProcess

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]


@dataclass(frozen=True, slots=True)
class Site:
    world: Drilled
    server: PostgresServer
    url: str

    def epoch(self) -> int:
        found: int = self.world.link()["session_epoch"]
        return found

    async def declare(self, name: str) -> str:
        """The reason why not; empty when it is stored."""
        content = manifest(name, auto_start=False, model="").encode()
        async with connect(self.world.context, timeout_s=10) as client:
            try:
                await client.runtimes.apply_manifest(
                    m.ApplyManifestRequest(content=content, format=m.ManifestFormat.TOML)
                )
            except ArwError as error:
                return error.reason
        return ""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with postgres_server() as server, drilled() as world:
        url = server.new_database()
        said = world.command(CONTROL_PLANE, "init", "--state-dir", world.state, "--database", url)
        assert said.code == 0, said.err
        world.begin("one")
        assert not (world.control_plane_state / "arw.db").exists()
        yield Site(world, server, url)
        world.done("down")
        assert left(world.state) == {}


@pytest.fixture
def engines(site: Site) -> Iterator[dict[str, Engine]]:
    """Before and after each drill the same engine serves, in the same session of the same processes."""
    before, epoch, pids = site.world.engines(), site.epoch(), (site.world.agent_pid, site.world.control_plane_pid)
    assert list(before) == ["one"]
    yield before
    assert site.world.engines() == before
    assert site.epoch() == epoch, "the session stayed"
    assert (site.world.agent_pid, site.world.control_plane_pid) == pids
    assert site.world.states()["one"] == "ready"
    assert site.world.ask("one", 5) == SENTENCE


def refusal_of_a_call(world: Drilled) -> grpc.Call:
    with ControlPlaneProcess(world.state).nodes() as nodes:
        try:
            nodes.CreateJoinToken(node_service_pb2.CreateJoinTokenRequest(), timeout=10)
        except grpc.RpcError as error:
            return cast("grpc.Call", error)
    raise AssertionError("the call was answered")


def test_f28_postgresql_killed_and_started_again_ends_no_session_and_no_engine(
    site: Site, engines: dict[str, Engine]
) -> None:
    site.server.stop(signal.SIGQUIT)
    try:
        error = refusal_of_a_call(site.world)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "PostgreSQL cannot be used" in (error.details() or "")
        status = rpc_status.from_call(error)
        assert status is not None
        again = RetryInfo()
        assert any(detail.Unpack(again) for detail in status.details)
        assert again.retry_delay.ToTimedelta().total_seconds() == 1
        assert asyncio.run(site.declare("while-it-is-away")) == "STORAGE_UNAVAILABLE"
        assert site.world.ask("one") == SENTENCE, "what is known in memory is served"
        time.sleep(4)  # longer than every rule of the test profile
        assert site.world.link()["state"] == "in_sync"
        assert site.world.engines() == engines
    finally:
        site.server.start()
    site.world.until(lambda: asyncio.run(site.declare("after-it")) == "", "a stored change", 20)
    assert "after-it" in site.world.declared()


def test_f26_a_session_idle_in_transaction_costs_calls_a_bounded_wait(site: Site, engines: dict[str, Engine]) -> None:
    assert engines
    with psycopg.connect(site.url) as foreign:
        foreign.execute("SELECT * FROM meta FOR UPDATE")
        took, reasons = asyncio.run(_asked_for(site, seconds=6))
        assert reasons == {"STORAGE_UNAVAILABLE"}
        assert statistics.quantiles(took, n=100)[98] <= 3
        assert "one" in site.world.declared(), "reads go on"
    site.world.until(lambda: asyncio.run(site.declare("once-it-left")) == "", "a stored change", 10)


async def _asked_for(site: Site, seconds: float) -> tuple[list[float], set[str]]:
    """How long each of many writes took, and what was said."""
    took: list[float] = []
    reasons: set[str] = set()

    async def ask(number: int) -> None:
        began = time.monotonic()
        reasons.add(await site.declare(f"held-up-{number}"))
        took.append(time.monotonic() - began)

    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * 10)):
            group.create_task(ask(number))
            await asyncio.sleep(0.1)
    return took, reasons


def test_f25_with_every_connection_cut_again_and_again_each_change_reaches_the_agent(
    site: Site, engines: dict[str, Engine]
) -> None:
    assert engines
    for turn in range(3):
        for name in ("arw listener", "arw writer", "arw reader"):
            site.server.cut(name)
        site.world.apply(manifest("one", f"more-{turn}", context_length=512))
    declared = site.world.declared()
    assert {f"more-{turn}" for turn in range(3)} <= declared.keys()
    for turn in range(3):
        site.world.done("runtime", "delete", f"more-{turn}")
    site.world.until(lambda: list(site.world.engines()) == ["one"], "the end of the others", 30)


def test_what_happens_while_the_database_is_away_is_journalled_once_it_is_back(site: Site) -> None:
    before, epoch, away = site.world.engines()["one"], site.epoch(), datetime.now(UTC)
    site.server.stop(signal.SIGQUIT)
    try:
        kill_hard(before.pid)
        site.world.until(lambda: site.world.engines().get("one", before).pid != before.pid, "another engine", 20)
        site.world.until(lambda: answered(site.world), "an answer from memory", 20)
        assert site.epoch() == epoch
    finally:
        back = datetime.now(UTC)
        site.server.start()
    site.world.until(lambda: len(told(site.world, away, back)) >= 2, "the crash and the start in the journal", 20)
    assert site.epoch() == epoch
    assert told(site.world, away, back)[-1] == "ready"


def answered(world: Drilled) -> bool:
    try:
        return world.ask("one") == SENTENCE
    except ArwError:
        return False


def told(world: Drilled, after: datetime, before: datetime) -> list[str]:
    """The states that the journal gives for that time; none while it is not connected to the database again."""
    said = world.arwctl("events", "--prefix", "runtime.", "--limit", "1000", "-o", "json")
    return [
        event["payload"]["state"]
        for event in (json.loads(said.out) if said.code == 0 else ())
        if after < datetime.fromisoformat(event["time"]) < before and "state" in event["payload"]
    ]
