"""The API documents: valid, as committed, and complete."""

from __future__ import annotations

import ast
import warnings
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import validate

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.authority import Authority, AuthorityState, AuthorityStep
from control_plane.domain.claims.claim import Claim, ClaimState, Held, Notice, Requirement, RuntimeClaim
from control_plane.domain.claims.hold import Hold
from control_plane.domain.errors import ManifestInvalid
from control_plane.domain.event import Event
from control_plane.domain.ids import AuthorityId, ClaimId, JobId, KeyId, NodeId, ProjectId, RuntimeId
from control_plane.domain.instance import ExitRecord, InstanceState, Severity
from control_plane.domain.jobs.job import Job, JobKind, JobOrder, JobState
from control_plane.domain.manifest import Reloaded
from control_plane.domain.matrix import entry
from control_plane.domain.node import HeldRemoval
from control_plane.domain.pin import Combination, Pin
from control_plane.domain.placing.residents import hibernated
from control_plane.domain.placing.situation import MassSilence
from control_plane.domain.problem import Problem
from control_plane.domain.project import Project, ProjectKey
from control_plane.domain.residence import SleepCause
from control_plane.domain.supervisor_log import Deed, LogEntry
from control_plane.domain.watcher import WatchArea, Watcher
from control_plane.http.publish import pages
from control_plane.http.published import published
from control_plane.http.topics import TOPICS
from control_plane.use_cases import announcements, project_events, residence_events
from control_plane.use_cases.authority_events import authority_prepared, authority_stepped
from control_plane.use_cases.claims import announcements as claim_announcements
from control_plane.use_cases.lost_history import history_changed
from control_plane.use_cases.supervisor_events import supervisor_log
from tests.fakes.clock import NOON
from tests.fakes.control_plane import a_budget, a_model, a_node, a_runtime, an_instance, an_inventory, seen

ROOT = Path(__file__).resolve().parents[3]
API = ROOT / "docs" / "api"


@pytest.mark.parametrize("name", sorted(pages()))
def test_the_committed_documents_are_those_of_the_code(name: str) -> None:
    assert (API / name).read_text() == pages()[name], "run `python -m control_plane.http.publish docs/api`"


def test_nothing_else_is_published() -> None:
    assert {path.name for path in API.iterdir()} == set(pages())


@pytest.mark.parametrize("name", ["openapi", "runtime_supervisor"])
def test_the_documents_of_paths_are_valid_openapi(name: str) -> None:
    validate(published()[name])


def test_the_document_of_events_is_valid_asyncapi() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # its own, about names of its fields
        from asyncapi3 import AsyncAPI3
    AsyncAPI3.model_validate(_plain(published()["asyncapi"]))


@pytest.mark.parametrize("name", sorted(published()))
def test_every_reference_leads_somewhere(name: str) -> None:
    document = _plain(published()[name])
    for target in _references(document):
        found = document
        for step in target.removeprefix("#/").split("/"):
            found = found[step]


def test_every_topic_of_the_code_is_described_and_no_other() -> None:
    assert {topic.kind for topic in TOPICS} == _announced()


def _samples() -> list[Event]:
    node, runtime, now = a_node(inventory=an_inventory(AcceleratorKind.GPU_CUDA)), a_runtime(node="n1"), NOON
    problem = Problem("DEVICE_LOST", "It is gone.", "Plug it in.")
    instance = an_instance(state=InstanceState.DEGRADED, restart_budget=a_budget(1), problem=problem)
    refused = ManifestInvalid("It is wrong.", "Mend it.", source="a.toml")
    order = JobOrder(JobKind.RESTORE, runtime.id, timedelta(minutes=1))
    job = Job(JobId("j"), order, "local", runtime.uid, now, now + order.time_limit)
    project = Project(ProjectId("team"), "u", "e", now, now, pins=(Pin("tiny", Combination(adapter="vllm")),))
    authority = Authority(AuthorityId("aa"), AuthorityState.PREPARED, b"der")
    key = ProjectKey(KeyId("k"), project.id, "ab" * 32, now, "ci")
    return [
        announcements.state_changed(instance, now),
        announcements.state_changed(an_instance(), now),
        *_claims(),
        supervisor_log(LogEntry(Deed.STARTED, an_instance(), 1, Severity.INFO, "It started."), now),
        supervisor_log(LogEntry(Deed.ENDED, instance, 1, Severity.WARN, "It ended.", ExitRecord(signal=9)), now),
        announcements.restore_requested(runtime, now, "boot"),
        announcements.restore_completed(instance, now),
        announcements.restore_completed(instance, now, "It did not start."),
        announcements.degraded(instance, now),
        announcements.accelerator_switched(instance, AcceleratorKind.CPU, now),
        announcements.declared(runtime, now, "created"),
        announcements.profile_changed(runtime, runtime, now),
        announcements.manifests_reloaded(["a.toml"], Reloaded(), now),
        announcements.manifest_refused(refused, now),
        announcements.placed(replace(runtime, placement_problem=problem), now, ""),
        announcements.model_changed(a_model(), now, "created"),
        announcements.node_changed(seen(node), now, cause="trouble", problems=[announcements.problem_json(problem)]),
        announcements.placement_changed(MassSilence((node.id,), 3), now),
        announcements.placement_changed(None, now),
        history_changed("b", "a", now, revision=1, known_revision=2, node=node.id),
        history_changed("b", "a", now, revision=1, known_revision=2, node=None),
        announcements.removals_allowed(node, [HeldRemoval(runtime.id, 1)], "local", now),
        announcements.node_advertised(node, now),
        announcements.node_health(entry(seen(node), [], None, now), now + timedelta(seconds=1)),
        announcements.service_health(Watcher(WatchArea.MANIFEST_FILES, ("a.toml",), problem=problem), now),
        announcements.of_runtime("runtime.shutdown.requested", runtime.id, now),
        announcements.of_runtime("runtime.shutdown.requested", runtime.id, now, job_id="j"),
        residence_events.hibernated(hibernated(runtime, SleepCause.ROOM, now), now, problem),
        residence_events.wake_requested(runtime, now, "job", job_id="j"),
        residence_events.wake_completed(runtime, now),
        residence_events.wake_completed(runtime, now, problem),
        announcements.job_created(job, now),
        announcements.job_changed(job, now),
        announcements.job_changed(replace(job, state=JobState.FAILED, problem=problem, rolled_back=True), now),
        authority_prepared(authority, now),
        *(authority_stepped(authority, step, now) for step in AuthorityStep),
        project_events.project_created(project, now),
        project_events.project_updated(project, now),
        project_events.project_deleted(project, now),
        project_events.key_created(key, now),
        project_events.key_revoked(replace(key, expire_time=now, revoke_time=now), now),
        announcements.of_runtime("runtime.removed", runtime.id, now, node="n1"),
        announcements.of_runtime("runtime.deleted", runtime.id, now, node=""),
    ]


def _claims() -> list[Event]:
    problem = Problem("NOT_READY", "It is away.", "Wait.")
    held = Held(RuntimeId("chat"), NodeId("n1"), Hold(ClaimId("c"), 7, 3), NOON)
    order = RuntimeClaim(Requirement("chat"))
    granted = Claim(ClaimId("c"), ProjectId("team"), order, NOON, ClaimState.GRANTED, held=held)
    suspended = replace(granted, state=ClaimState.SUSPENDED, problem=problem)
    noticed = replace(granted, notice=Notice(NOON, problem))
    return [
        *(claim_announcements.claim_changed(replace(granted, state=state), NOON) for state in ClaimState),
        claim_announcements.claim_changed(replace(granted, held=None), NOON),
        claim_announcements.claim_recovered(granted, NOON),
        claim_announcements.claim_noticed(noticed, NOON),
        claim_announcements.fallback_engaged(suspended, granted, NOON),
    ]


def test_what_is_announced_is_as_its_topic_says_and_nothing_is_left_unsaid() -> None:
    payloads = {topic.kind: topic.payload for topic in TOPICS}
    samples = _samples()
    assert {sample.kind for sample in samples} == set(payloads)
    for sample in samples:
        told = msgspec.convert(sample.payload, payloads[sample.kind])
        assert sample.payload.keys() <= set(told.__struct_fields__), sample.kind


def _announced() -> set[str]:
    """What stands first in the calls that make events."""
    files = (ROOT / "control_plane" / "use_cases").rglob("*.py")
    calls = [node for file in files for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    makers = [call for call in calls if _name(call.func) in {"Event", "_event", "of_runtime"} and call.args]
    return {*claim_announcements.TOPICS.values()} | {
        str(call.args[0].value) for call in makers if isinstance(call.args[0], ast.Constant)
    }


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for member in value.values() for found in _references(member)]
    return [found for member in value for found in _references(member)] if isinstance(value, list) else []


def _plain(document: dict[str, Any]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(document))
