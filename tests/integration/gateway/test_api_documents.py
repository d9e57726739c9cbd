"""What the API documents promise, held against the real HTTP port with requests that nobody thought of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonpatch
import msgspec
import pytest
import requests
import schemathesis
from google.protobuf.json_format import MessageToDict
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection

from arw.v1.state_service_pb2 import ListEventsRequest, WatchEventsRequest
from control_plane.http.documents import DOCUMENTS, Document
from control_plane.http.openapi import PUBLISHED
from control_plane.http.published import published
from control_plane.http.topics import TOPICS
from tests.fakes.http_talk import Reply, Talk, talking
from tests.fakes.running_plane import RunningPlane, running_plane

SECONDS = 20
LONG = timedelta(minutes=1)
"""The agent here says Hello and nothing more."""
RUNTIMES = ("chat", "other")
UNMOVED = {"orchestrator_jobs", "projects", "runtime_watchers"}
"""Read models that a declared runtime does not change."""
PATHS = sorted((path, *methods) for path, methods in published()["openapi"]["paths"].items())
ASKED = [
    (path, method, mode)
    for path, method in PATHS
    for mode in GenerationMode
    # Nothing could be wrong in the others.
    if path.startswith(("/state", "/events", "/orchestrator")) or mode is GenerationMode.POSITIVE
]


@pytest.fixture
async def plane(short_folder: Path) -> AsyncIterator[RunningPlane]:
    """With a node that is there, and runtimes that are declared."""
    async with running_plane(short_folder, heartbeat=LONG, ack_within=LONG) as running:
        await running.declare(*RUNTIMES)
        agent = await running.agent("box")
        yield running
        await agent.hang_up()


@pytest.mark.parametrize(("path", "method", "mode"), ASKED)
async def test_the_port_answers_generated_requests_as_documented(
    plane: RunningPlane, path: str, method: str, mode: GenerationMode
) -> None:
    await asyncio.to_thread(_exercised, plane, path, method, mode)


async def test_what_is_served_is_what_is_published(plane: RunningPlane) -> None:
    for path in PUBLISHED:
        reply = await _got(plane, path)
        assert reply.json() == published()[path.strip("/").removesuffix(".json")]
        assert (await _got(plane, path, if_none_match=reply.headers["etag"])).status == 304


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.id)
async def test_a_document_that_says_nothing_new_is_not_sent_again(plane: RunningPlane, document: Document) -> None:
    await _settled(plane)
    tag = (await _got(plane, document.path)).headers["etag"]
    async with asyncio.timeout(SECONDS):
        while (again := await _got(plane, document.path, if_none_match=f'"other", {tag}')).status == 200:
            tag = again.headers["etag"]
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    if document.id in UNMOVED:
        return
    await plane.declare(*RUNTIMES, "third")
    await _settled(plane, count=3)
    changed = await _got(plane, document.path, if_none_match=tag)
    assert changed.status == 200
    assert changed.headers["etag"] != tag


async def test_a_read_model_is_followed_by_patches_and_resumed_by_its_tag(plane: RunningPlane) -> None:
    async with _following(plane, "/state/runtimes?watch=true") as talk:
        assert (await _event(talk))["event"] == "service.connected"
        snapshot = await _event(talk)
        document = snapshot["data"]["document"]
        assert (snapshot["event"], snapshot["data"]["id"]) == ("state.read.model.snapshot", "runtimes")
        await plane.declare(*RUNTIMES, "third")
        while "third" not in {row["id"] for row in document["runtimes"]}:
            patched = await _event(talk)
            assert patched["event"] == "state.read.model.patch"
            document = jsonpatch.apply_patch(document, patched["data"]["patch"])
    async with _following(plane, "/state/runtimes?watch", last_event_id=patched["id"]) as talk:
        assert (await _event(talk))["data"]["resume_from"] == patched["id"]
        await plane.declare(*RUNTIMES, "third", "fourth")
        while "fourth" not in {row["id"] for row in document["runtimes"]}:
            more = await _event(talk)
            assert more["event"] == "state.read.model.patch"
            document = jsonpatch.apply_patch(document, more["data"]["patch"])


async def test_a_tag_that_is_not_known_any_more_brings_the_whole_document(plane: RunningPlane) -> None:
    async with _following(plane, "/state/cluster?watch=true", last_event_id='"gone.1"') as talk:
        assert (await _event(talk))["data"]["resume_from"] is None
        assert (await _event(talk))["event"] == "state.read.model.snapshot"


async def test_cluster_and_manifests_show_what_there_is(plane: RunningPlane) -> None:
    await _settled(plane)
    node = (await _got(plane, "/state/cluster")).json()["nodes"][0]
    assert (node["id"], node["state"], node["runtimes"], node["models"]) == ("box", "online", 2, ["m"])
    manifests = (await _got(plane, "/state/runtime/manifests")).json()
    assert manifests["resolved"] == [{"source": "test.toml", "runtimes": list(RUNTIMES)}]
    assert manifests["paths"] == []


async def test_every_row_of_the_journal_is_as_its_topic_says(plane: RunningPlane) -> None:
    await _settled(plane)
    rows = (await plane.state.ListEvents(ListEventsRequest(page_size=1000))).events
    payloads = {topic.kind: topic.payload for topic in TOPICS}
    assert {"cluster.node.changed", "runtime.declared", "runtime.placed"} <= {row.kind for row in rows}
    for row in rows:
        msgspec.convert(MessageToDict(row.payload), payloads[row.kind], strict=False)


def _exercised(plane: RunningPlane, path: str, method: str, mode: GenerationMode) -> None:
    operation = schemathesis.openapi.from_dict(published()["openapi"])[path][method.upper()]
    known = {each["name"] for each in published()["openapi"]["paths"][path][method].get("parameters", ())}
    base, token = f"http://{plane.address('http')}", plane.context["token"]

    @settings(
        max_examples=20,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def each(case: Any) -> None:
        unheard = [negative_data_rejection] if _says_nothing(case, known) else []
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}
        case.validate_response(_asked(case, base), excluded_checks=[ignored_auth, *unheard])

    each()


def _says_nothing(case: Any, known: set[str]) -> bool:
    """Whether a part is wrong that no server hears: a name of a query that it does not know, or an empty header."""
    return not known.issuperset(case.query or {}) or not all((case.headers or {"-": "-"}).values())


def _asked(case: Any, base: str) -> requests.Response:
    """A stream is read as far as its first piece."""
    asked = case.as_transport_kwargs(base_url=base)
    with requests.request(**asked, stream=True, timeout=SECONDS) as response:
        streams = response.headers.get("content-type", "").startswith("text/event-stream")
        response._content = next(response.iter_content(None), b"") if streams else response.content
    return response


async def _settled(plane: RunningPlane, count: int = len(RUNTIMES)) -> None:
    """Everything declared has its place."""
    async with asyncio.timeout(SECONDS):
        events = plane.state.WatchEvents(WatchEventsRequest(prefixes=["runtime.placed"], after_id=0))
        placed: set[str] = set()
        while len(placed) < count:
            row = (await events.read()).event
            placed |= {row.subject} if MessageToDict(row.payload)["node"] else set()
        events.cancel()


async def _got(plane: RunningPlane, path: str, **headers: str) -> Reply:
    async with _following(plane, path, **headers) as talk:
        return await talk.reply()


@asynccontextmanager
async def _following(plane: RunningPlane, path: str, **headers: str) -> AsyncIterator[Talk]:
    async with asyncio.timeout(SECONDS), talking(plane.ports["http"]) as talk:
        talk.ask("GET", path, authorization=f"Bearer {plane.context['token']}", **headers)
        yield talk


async def _event(talk: Talk) -> dict[str, Any]:
    """The next one, its data decoded."""
    while True:
        lines = (await talk.reader.readuntil(b"\n\n")).decode().replace("\r\n", "\n").split("\n")
        said: dict[str, Any] = dict(line.split(": ", 1) for line in lines if ": " in line and not line.startswith(":"))
        if "event" in said:
            return said | {"data": json.loads(said["data"])}
