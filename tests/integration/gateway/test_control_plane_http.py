"""The whole data path as the control plane builds it: store, routes, tokens, read models, events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from control_plane.data_path.assembly import DataPath, build_data_path
from control_plane.data_path.traffic import TrafficMeter
from control_plane.domain import secret
from control_plane.domain.errors import StorageUnavailable
from control_plane.domain.event import Event
from control_plane.domain.ids import NodeId, OperatorId, RuntimeId
from control_plane.domain.instance import Instance, InstanceState
from control_plane.domain.operator import Operator
from control_plane.domain.runtime import DesiredState
from control_plane.domain.watcher import WatchArea
from control_plane.http.application import application
from control_plane.http.documents import Views
from control_plane.http.orders import Orders
from control_plane.manifests.reader import Reader
from control_plane.manifests.writer import Writer
from control_plane.store.memory import MemoryStore
from control_plane.use_cases.get_cluster import GetCluster
from control_plane.use_cases.get_grid import GetGrid
from control_plane.use_cases.get_manifests import GetManifests
from control_plane.use_cases.get_matrix import GetMatrix
from control_plane.use_cases.get_supervisor import GetSupervisor, Process
from control_plane.use_cases.get_watchers import GetWatchers
from control_plane.use_cases.jobs.book import JobBook
from control_plane.use_cases.jobs.create_job import CreateJob
from control_plane.use_cases.jobs.read_jobs import GetJobs
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.project_book import ProjectBook
from control_plane.use_cases.randomness import SystemRandomness
from control_plane.use_cases.read_projects import GetProjects, ViewProjects
from control_plane.use_cases.read_runtimes import GetRuntime
from control_plane.use_cases.report_watchers import ReportWatchers
from control_plane.use_cases.state_bell import StateBell
from control_plane.use_cases.watch_events import WatchEvents
from gateway.server import Bound
from node_agent.domain.spec import InstanceName
from node_agent.relay.link import RelayLink
from tests.fakes.data_path import Certificates, FakeDoors, Replica, door
from tests.fakes.fleet import FakeFleet
from tests.fakes.http_talk import Reply, Talk, talking
from tests.fakes.patience import SLACK
from tests.fakes.relay_rig import until
from tests.fakes.store_rows import NOON, StandingClock, a_node, a_runtime
from tests.fakes.stub_engine import StubEngine

AUTH = "Bearer local.hunter2"
CHAT = "/v1/chat/completions"


@dataclass(slots=True)
class FakeSessions:
    epochs: dict[str, int] = field(default_factory=dict)
    links: dict[str, RelayLink] = field(default_factory=dict)

    def admits(self, node: NodeId, epoch: int, serial: str | None) -> bool:
        return self.epochs.get(node) == epoch

    def superseded(self, node: NodeId, epoch: int) -> bool:
        return self.epochs.get(node, epoch) != epoch

    def park(self, node: NodeId, idle: int) -> bool:
        self.links[node].park(idle)
        return True


@dataclass(slots=True)
class Plane:
    store: MemoryStore
    fleet: FakeFleet
    data_path: DataPath
    clock: StandingClock
    engine: StubEngine
    port: int = 0

    async def declare(self, **changes: Any) -> None:
        runtime = replace(a_runtime("tiny-chat"), node=NodeId("box"), **changes)
        await self.store.write(lambda tx: tx.runtimes.put(runtime))
        await self.followed()

    async def followed(self) -> None:
        """Until the gateway knows what is stored."""
        revision = await self.store.read(lambda tx: tx.revision())
        await until(lambda: self.data_path._mirror._log.revision >= revision)

    def report(self, state: InstanceState) -> None:
        self.fleet.record(Instance(NodeId("box"), RuntimeId("tiny-chat"), state, summary="as told"))

    async def get(self, path: str, authorization: str = AUTH) -> Reply:
        async with talking(self.port) as talk:
            talk.ask("GET", path, authorization=authorization)
            return await talk.reply()

    async def chat(self, model: str = "tiny-chat", **stub: Any) -> Reply:
        async with talking(self.port) as talk:
            talk.ask("POST", CHAT, {"model": model, "stub": stub}, authorization=AUTH)
            return await talk.reply()


async def _furnish(store: MemoryStore) -> None:
    operator = Operator(OperatorId("local"), "Local", secret.hashed("hunter2"), NOON)
    await store.write(lambda tx: tx.operators.put(operator))
    await store.write(lambda tx: tx.nodes.put(a_node("box")))


async def _plane(folder: Path, stop: asyncio.Event, ready: Callable[[Plane], None]) -> None:
    clock, fleet, sessions = StandingClock(), FakeFleet(), FakeSessions({"box": 4})
    store, traffic, certificates = MemoryStore(clock), TrafficMeter(clock), Certificates(folder)
    mirror, book, projects = Mirror(store), JobBook(store), ProjectBook(store)
    create = CreateJob(store, fleet, clock, SystemRandomness(), Reader(), Writer(), book)
    views = Views(
        GetMatrix(mirror, fleet, clock, traffic, timedelta(seconds=10)),
        GetGrid(mirror, fleet, clock, traffic, timedelta(minutes=5), timedelta(seconds=10)),
        GetSupervisor(store, fleet, clock, Process(1, "test", "")),
        GetCluster(mirror, fleet, clock, timedelta(seconds=10), lambda: ()),
        GetManifests(store, clock, ("/etc/arw/runtimes.toml",)),
        GetWatchers(ReportWatchers(store, clock, {WatchArea.MANIFEST_FILES: ("/etc/arw/runtimes.toml",)}), clock),
        GetJobs(book, clock),
        GetProjects(ViewProjects(projects, mirror, fleet, clock)),
        Orders(create, GetRuntime(store, fleet)),
        WatchEvents(store),
        StateBell(store, fleet),
        clock,
    )
    await _furnish(store)
    fleet.connect("box")
    path = build_data_path(
        store,
        mirror,
        fleet,
        sessions,
        traffic,
        projects=projects,
        clock=clock,
        application=application(views),
        http=("127.0.0.1", 0, None),
        relay=("127.0.0.1", 0, certificates.server()),
        runtime_directory=folder,
        grace=1,
    )
    tls, _ = certificates.node("box")
    doors = FakeDoors()
    link = RelayLink(doors, "box", tls)
    sessions.links["box"] = link
    async with StubEngine().listening() as engine, asyncio.TaskGroup() as tasks:
        doors.doors[InstanceName("nodes/box/instances/tiny-chat")] = door(engine.port)
        plane = Plane(store, fleet, path, clock, engine)

        def started(bound: Bound) -> None:
            plane.port = bound.http
            link.configure(4, [Replica(f"127.0.0.1:{bound.relay}")], 2)
            ready(plane)

        running = [tasks.create_task(path.run(started)), tasks.create_task(link.run())]
        await stop.wait()
        for task in running:
            task.cancel()


@asynccontextmanager
async def running_plane(folder: Path) -> AsyncIterator[Plane]:
    stop: asyncio.Event = asyncio.Event()
    there: asyncio.Future[Plane] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_plane(folder, stop, there.set_result))
        try:
            yield await there
        finally:
            stop.set()


@pytest.fixture
async def plane(short_folder: Path) -> AsyncIterator[Plane]:
    async with running_plane(short_folder) as made:
        yield made


async def test_a_runtime_is_found_by_id_display_name_and_model(plane: Plane) -> None:
    spec = replace(a_runtime("tiny-chat").spec, display_name="Tiny Chat")
    await plane.declare(spec=spec)
    plane.report(InstanceState.READY)
    for name in ("tiny-chat", "Tiny Chat", "tiny"):
        assert (await plane.chat(name)).status == 200
    models = (await plane.get("/v1/models")).json()
    assert [(entry["id"], entry["model"], entry["node"]) for entry in models["data"]] == [("tiny-chat", "tiny", "box")]
    assert (await plane.get("/v1/models/tiny-chat")).json()["object"] == "model"


@pytest.mark.parametrize(
    ("state", "changes", "words", "retry"),
    [
        (InstanceState.STARTING, {}, "starting", "2"),
        (InstanceState.RESTARTING, {}, "restarting", "2"),
        (InstanceState.ERROR, {}, "error: as told", "10"),
        (InstanceState.OFFLINE, {"desired_state": DesiredState.STOPPED}, "shut down", None),
        (InstanceState.PENDING, {"node": None}, "waits for a place", "10"),
    ],
)
async def test_a_runtime_that_does_not_serve_says_why_and_when_to_ask_again(
    plane: Plane, state: InstanceState, changes: dict[str, Any], words: str, retry: str | None
) -> None:
    await plane.store.write(
        lambda tx: tx.runtimes.put(replace(a_runtime("tiny-chat"), **{"node": NodeId("box"), **changes}))
    )
    await plane.followed()
    plane.report(state)
    reply = await plane.chat()
    assert (reply.status, reply.headers.get("retry-after")) == (503, retry)
    assert words in reply.json()["error"]["message"]


async def test_a_database_that_cannot_be_read_for_a_while_stops_no_request(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plane.declare()
    plane.report(InstanceState.READY)
    tried = asyncio.Event()

    async def unreadable(_query: object) -> object:
        tried.set()
        raise StorageUnavailable("The disk is gone.")

    with monkeypatch.context() as broken:
        broken.setattr(plane.store, "read", unreadable)
        await plane.store.write(lambda tx: tx.revise("models", "m"))
        await asyncio.wait_for(tried.wait(), 5)
        assert (await plane.chat()).status == 200
    assert (await plane.chat()).status == 200


async def test_an_unknown_name_lists_what_is_declared(plane: Plane) -> None:
    await plane.declare()
    reply = await plane.chat("other")
    assert reply.status == 404
    assert "tiny-chat" in reply.json()["error"]["remedy"]


async def test_a_node_that_goes_offline_loses_its_connections_at_once(plane: Plane) -> None:
    await plane.declare()
    plane.report(InstanceState.READY)
    assert (await plane.chat()).status == 200
    async with talking(plane.port) as talk:
        stub = {"tokens": 10_000, "interval_ms": 2}
        talk.ask("POST", CHAT, {"model": "tiny-chat", "stream": True, "stub": stub}, authorization=AUTH)
        await talk.reader.readuntil(b"tok1")
        plane.fleet.disconnect("box")
        await talk.reader.read()
    await until(lambda: plane.engine.closed_in_answer == 1)
    assert (await plane.chat()).status == 503


@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings"])
async def test_a_request_for_a_runtime_on_an_offline_node_is_told_so_and_since_when(plane: Plane, path: str) -> None:
    await plane.declare()
    plane.report(InstanceState.READY)
    plane.fleet.disconnect("box", NOON)
    async with talking(plane.port) as talk:
        talk.ask("POST", path, {"model": "tiny-chat", "input": "hi"}, authorization=AUTH)
        reply = await talk.reply()
    error = reply.json()["error"]
    assert (reply.status, error["code"]) == (503, "node_offline")
    assert error["message"].startswith(f"Node box is offline since {NOON:%Y-%m-%d}")
    assert "arwctl nodes show box" in error["remedy"]
    assert reply.headers["retry-after"] == "10"


async def test_what_the_node_answered_shows_in_the_matrix(plane: Plane) -> None:
    await plane.declare()
    plane.report(InstanceState.READY)
    await plane.chat()
    await plane.chat(garbage=True)
    entry = (await plane.get("/state/runtime_matrix")).json()["items"]["box"]
    assert (entry["http"]["hits"], entry["http"]["errors"], entry["http"]["error_rate"]) == (2, 1, 0.5)
    assert entry["status"]["severity_label"] == "Error"
    assert entry["runtime"]["states"] == {"ready": 1}


async def test_the_registry_shows_slugs_beside_labels(plane: Plane) -> None:
    await plane.declare()
    plane.report(InstanceState.READY)
    row = (await plane.get("/state/runtime_supervisor")).json()["runtimes"][0]
    assert row["descriptor"]["id"] == "tiny-chat"
    assert (row["status"]["state"], row["status"]["state_label"]) == ("ready", "Ready")
    flat = (await plane.get("/state/runtimes")).json()["runtimes"][0]
    assert (flat["model"], flat["health_grade"], flat["adapter"]) == ("tiny", "A", "llama.cpp")


@pytest.mark.parametrize("path", ["/state/runtime_matrix", "/events", "/nothing"])
async def test_without_a_good_token_a_problem_is_all_there_is(plane: Plane, path: str) -> None:
    reply = await plane.get(path, "Bearer local.wrong")
    assert (reply.status, reply.headers["content-type"]) == (401, "application/problem+json")
    assert reply.json() | {"detail": "", "trace_id": ""} == {
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
        "detail": "",
        "code": "UNAUTHENTICATED",
        "trace_id": "",
    }


async def test_health_is_open_and_tells_nothing(plane: Plane) -> None:
    assert (await plane.get("/healthz", "")).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/events?replay=x", 400),
        ("/events?after=-1", 400),
        ("/events?after=1&after=2", 400),
        (f"/events?{'prefix=&' * 33}", 400),
        ("/state/runtimes?watch=perhaps", 400),
        ("/state/runtimes?watch=true&watch=true", 400),
    ],
)
async def test_what_is_not_there_is_a_problem(plane: Plane, path: str, status: int) -> None:
    reply = await plane.get(path)
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json")
    assert reply.json()["trace_id"]


async def test_a_revoked_or_replaced_token_is_refused(plane: Plane) -> None:
    assert (await plane.get("/state/runtimes")).status == 200
    newer = Operator(OperatorId("local"), "Local", secret.hashed("other"), NOON)
    await plane.store.write(lambda tx: tx.operators.put(newer))
    await _answered(plane, AUTH, 401)
    await _answered(plane, "Bearer local.other", 200)


async def _answered(plane: Plane, authorization: str, status: int) -> None:
    async with asyncio.timeout(5 * SLACK):
        while (await plane.get("/state/runtimes", authorization)).status != status:  # noqa: ASYNC110 - another process would ask so
            await asyncio.sleep(0.05)


async def event(talk: Talk) -> tuple[int | None, str, Any]:
    """The next event of a stream: id, kind, data."""
    while True:
        lines = (await talk.reader.readuntil(b"\n\n")).decode().replace("\r\n", "\n").split("\n")
        fields = dict(line.split(": ", 1) for line in lines if ": " in line and not line.startswith(":"))
        if "event" in fields:
            return int(fields["id"]) if "id" in fields else None, fields["event"], json.loads(fields["data"])


async def test_events_are_greeted_replayed_followed_and_resumed(plane: Plane) -> None:
    def append(kind: str) -> Callable[[Any], None]:
        return lambda tx: tx.journal.append(Event(kind, "runtimes/tiny-chat", {"n": 1}))

    for kind in ("runtime.one", "node.two", "runtime.three"):
        await plane.store.write(append(kind))
    async with talking(plane.port) as talk:
        talk.ask("GET", "/events?prefix=runtime.&replay=10", authorization=AUTH)
        _, kind, greeting = await event(talk)
        assert (kind, greeting["replay"], greeting["prefixes"]) == (
            "service.connected",
            {"mode": "newest", "count": 10},
            ["runtime."],
        )
        first, kind, data = await event(talk)
        assert (kind, data["payload"], data["subject"]) == ("runtime.one", {"n": 1}, "runtimes/tiny-chat")
        assert (await event(talk))[1] == "runtime.three"
        await plane.store.write(append("runtime.four"))
        assert (await event(talk))[1] == "runtime.four"
    async with talking(plane.port) as talk:
        talk.ask("GET", "/events", authorization=AUTH, last_event_id=str(first))
        assert (await event(talk))[2]["resume_from"] == first
        assert (await event(talk))[1] == "node.two"


async def test_a_client_that_leaves_ends_its_watch_of_events(plane: Plane) -> None:
    before = len(plane.store._listeners)
    async with talking(plane.port) as talk:
        talk.ask("GET", "/events", authorization=AUTH)
        await event(talk)
        await until(lambda: len(plane.store._listeners) == before + 1)
    await until(lambda: len(plane.store._listeners) == before)


async def test_a_stream_of_events_ends_with_the_token_that_opened_it(plane: Plane) -> None:
    newer = Operator(OperatorId("local"), "Local", secret.hashed("other"), NOON)
    async with talking(plane.port) as talk:
        talk.ask("GET", "/events", authorization=AUTH)
        await event(talk)
        await plane.store.write(lambda tx: tx.operators.put(newer))
        async with asyncio.timeout(5 * SLACK):
            _, kind, problem = await event(talk)
            rest = await talk.reader.readuntil(b"0\r\n\r\n")
    assert (kind, problem["status"], problem["code"]) == ("service.refused", 401, "UNAUTHENTICATED")
    assert "token" in problem["detail"]
    assert b"event:" not in rest


async def test_stopping_lets_requests_in_hand_end_and_cuts_event_streams(short_folder: Path) -> None:
    async with asyncio.timeout(8 * SLACK), asyncio.TaskGroup() as tasks:
        async with running_plane(short_folder) as plane:
            await plane.declare()
            plane.report(InstanceState.READY)
            before = len(plane.store._listeners)
            chat = tasks.create_task(plane.chat(delay_ms=300))
            watching = tasks.create_task(_read_all_events(plane.port))
            await until(lambda: bool(plane.engine.requests) and len(plane.store._listeners) > before)
        assert chat.result().status == 200
        assert (await watching).startswith(b"HTTP/1.1 200")
    assert not _sockets(short_folder)


def _sockets(folder: Path) -> list[Path]:
    return list(folder.glob("*.sock"))


async def _read_all_events(port: int) -> bytes:
    async with talking(port) as talk:
        talk.ask("GET", "/events", authorization=AUTH)
        return await talk.reader.read()
