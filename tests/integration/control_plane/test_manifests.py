"""Manifests over the wire, and files that a running control plane loads."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from arw.v1 import runtime_service_pb2 as pb
from arw.v1.model_service_pb2 import ListModelsRequest
from arw.v1.runtime_pb2 import Runtime
from arw.v1.state_service_pb2 import GetWatchersRequest, WatchEventsRequest
from control_plane.settings import MANIFEST_VARIABLE
from tests.fakes.http_talk import talking
from tests.fakes.running_plane import RunningPlane, running_plane
from wire.error_status import refusal_of

PATIENCE = 20
TOML, JSON = pb.MANIFEST_FORMAT_TOML, pb.MANIFEST_FORMAT_JSON
ENTRY = '[[runtimes]]\nid = "{name}"\nadapter = "external"\nexternal = {{ url = "http://127.0.0.1:1" }}\n'


def manifest(*names: str, more: str = "") -> bytes:
    return ("version = 1\n" + "".join(ENTRY.format(name=name) + more for name in names)).encode()


async def declared(plane: RunningPlane) -> list[str]:
    found: list[Runtime] = (await plane.runtimes.ListRuntimes(pb.ListRuntimesRequest())).runtimes
    return [runtime.id for runtime in found]


async def next_event(events: Any, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        while True:
            event = (await events.read()).event
            if event.kind == kind:
                return MessageToDict(event.payload)


async def test_what_was_planned_is_applied_exported_and_pruned(state: Path) -> None:
    async with running_plane(state) as plane:
        content = manifest("a", "b/c", more="auto_start = true\n")
        plan = await plane.runtimes.PlanManifest(pb.PlanManifestRequest(content=content, format=TOML, source="m"))
        assert [(row.id, row.action) for row in plan.runtimes] == [
            ("a", pb.PLANNED_ACTION_CREATE),
            ("b/c", pb.PLANNED_ACTION_CREATE),
        ]
        assert plan.runtimes[0].placement_problem.text == "No machine has joined yet."
        assert await declared(plane) == []
        await plane.runtimes.ApplyManifest(pb.ApplyManifestRequest(content=content, format=TOML, source="m"))
        for form in (TOML, JSON):
            exported = await plane.runtimes.ExportManifest(pb.ExportManifestRequest(format=form))
            again = pb.PlanManifestRequest(content=exported.content, format=form, source="m", prune=True)
            after = await plane.runtimes.PlanManifest(again)
            assert [row.action for row in after.runtimes] == [pb.PLANNED_ACTION_NOTHING] * 2
        pruned = pb.ApplyManifestRequest(content=manifest("a"), format=TOML, source="m", prune=True)
        answer = await plane.runtimes.ApplyManifest(pruned)
        assert [(row.runtime.id, row.outcome) for row in answer.runtimes] == [
            ("a", pb.APPLY_OUTCOME_UPDATED),
            ("b/c", pb.APPLY_OUTCOME_REMOVED),
        ]
        assert await declared(plane) == ["a"]


async def test_a_refusal_with_many_faults_arrives_whole(state: Path) -> None:
    content = ("version = 1\n" + "".join(f'"{"é" * 200}{number}" = 1\n' for number in range(99))).encode()
    async with running_plane(state) as plane:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await plane.runtimes.PlanManifest(pb.PlanManifestRequest(content=content, format=TOML, source="m"))
    refusal = refusal_of(caught.value)
    assert refusal.remote_reason == "MANIFEST_INVALID"
    assert refusal.metadata["faults"] == "99"
    assert refusal.metadata["fault_1"].startswith("line 2: ")


async def test_a_running_control_plane_follows_its_files(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = state / "fleet.toml"
    file.write_bytes(manifest("a", "b"))
    os.utime(file, (1, 1))
    monkeypatch.setenv(MANIFEST_VARIABLE, str(file))
    async with running_plane(state) as plane:
        assert await declared(plane) == ["a", "b"]
        events = plane.state.WatchEvents(WatchEventsRequest(prefixes=["runtime.manifests."]))
        file.write_bytes(manifest("a", more="slots = 2\n"))
        refused = await next_event(events, "runtime.manifests.refused")
        assert refused["text"] == f"{file} is refused: line 6: runtimes[0].slots: is not known."
        assert await declared(plane) == ["a", "b"]
        file.write_bytes(manifest("b", "c"))
        while (await next_event(events, "runtime.manifests.reloaded"))["removed"] != ["a"]:
            pass
        assert await declared(plane) == ["b", "c"]
        events.cancel()


async def test_watchers_stay_degraded_until_the_file_is_mended_by_grpc_and_by_http(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = state / "fleet.toml"
    file.write_bytes(manifest("a"))
    os.utime(file, (1, 1))
    monkeypatch.setenv(MANIFEST_VARIABLE, str(file))
    async with running_plane(state) as plane:
        (seen,) = (await plane.state.GetWatchers(GetWatchersRequest())).watchers.watchers
        assert (seen.id, seen.status, seen.last_reason, seen.files) == ("manifest_files", "ok", "start", 1)
        events = plane.state.WatchEvents(WatchEventsRequest(prefixes=["service.health"]))
        file.write_bytes(b"version = 2\n")
        told = await next_event(events, "service.health")
        assert (told["id"], told["status"], told["paths"]) == ("manifest_files", "degraded", [str(file)])
        shown = await watchers_by_http(plane)
        (watcher,) = shown["watchers"]
        assert (shown["status"], watcher["status"], watcher["summary"]) == ("degraded", "degraded", told["summary"])
        file.write_bytes(manifest("a"))
        assert (await next_event(events, "service.health"))["status"] == "ok"
        (seen,) = (await plane.state.GetWatchers(GetWatchersRequest())).watchers.watchers
        assert (seen.status, seen.last_error) == ("ok", told["summary"])
        events.cancel()


async def test_models_that_a_followed_file_brings_are_registered_once_they_are_read(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = state / "tiny.gguf"
    weights.write_bytes(b"GGUF and weights")
    file = state / "fleet.toml"
    file.write_text('version = 1\n[[models]]\nid = "tiny"\npath = "tiny.gguf"\n')
    os.utime(file, (1, 1))
    monkeypatch.setenv(MANIFEST_VARIABLE, str(file))
    async with running_plane(state) as plane:
        events = plane.state.WatchEvents(WatchEventsRequest(prefixes=["models."], after_id=0))
        told = await next_event(events, "models.changed")
        events.cancel()
        (model,) = (await plane.models.ListModels(ListModelsRequest())).models
    assert (told["id"], told["change"], told["sha256"]) == ("tiny", "created", model.sha256)
    assert (model.path, model.sha256) == (str(weights), hashlib.sha256(b"GGUF and weights").hexdigest())


async def watchers_by_http(plane: RunningPlane) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE), talking(plane.ports["http"]) as talk:
        talk.ask("GET", "/state/runtime/watchers", authorization=f"Bearer {plane.context['token']}")
        found: dict[str, Any] = (await talk.reply()).json()
        return found
