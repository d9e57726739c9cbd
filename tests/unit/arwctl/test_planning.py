from __future__ import annotations

import json
from pathlib import Path

import pytest

from arw.v1 import problem_pb2, runtime_pb2, runtime_service_pb2
from arw.v1 import runtime_service_pb2 as pb
from arwctl import tiny_model
from arwctl.exit_codes import ExitCode
from arwctl.groups.manifests import DIFFERS
from tests.fakes.operator_api import OperatorApi, RefusedManifest
from tests.unit.arwctl.conftest import EVIL, Arwctl, runtime

MANIFEST = """
version = 1
[[models]]
id = "tiny"
path = "tiny.gguf"
[[runtimes]]
id = "tiny"
"""
RUNNING, STOPPED = runtime_pb2.DESIRED_STATE_RUNNING, runtime_pb2.DESIRED_STATE_STOPPED
KEPT = pb.PlannedRuntime(id="kept", action=pb.PLANNED_ACTION_NOTHING, node="nodes/n1", source_before="fleet.toml")
NEW = pb.PlannedRuntime(
    id="new",
    action=pb.PLANNED_ACTION_CREATE,
    changes=[pb.FieldChange(key="adapter", new_value='"llama.cpp"')],
    desired_state=RUNNING,
    node="nodes/n1",
)
CHANGED = pb.PlannedRuntime(
    id="changed",
    action=pb.PLANNED_ACTION_CHANGE,
    changes=[
        pb.FieldChange(key="settings.slots", old_value="2", new_value="4"),
        pb.FieldChange(key="auto_start", old_value="true"),
        pb.FieldChange(key="name", new_value=json.dumps(EVIL, ensure_ascii=False)),
    ],
    desired_state_before=RUNNING,
    desired_state=STOPPED,
    node_before="nodes/n1",
    placement_problem=problem_pb2.Problem(text="No node has the labels site=berlin.", remedy="Label a node."),
    source_before="other.toml",
)
GONE = pb.PlannedRuntime(
    id="gone", action=pb.PLANNED_ACTION_REMOVE, desired_state_before=RUNNING, node_before="nodes/n1"
)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    tiny_model.write(tmp_path / "tiny.gguf")
    path = tmp_path / "tiny.toml"
    path.write_text(MANIFEST)
    return path


def words(command: str, manifest: Path, state: Path, *more: str) -> list[str | Path]:
    return ["runtime", command, "-f", manifest, *more, "--context", state / "context.json"]


async def test_a_plan_shows_what_why_and_where(run: Arwctl, state: Path, api: OperatorApi, manifest: Path) -> None:
    api.plan.runtimes.extend([KEPT, NEW, CHANGED, GONE])
    api.plan.models.add(id="tiny", action=pb.PLANNED_ACTION_CREATE)
    said = await run(*words("plan", manifest, state))
    assert said.code == DIFFERS
    assert said.out.splitlines() == [
        "model tiny: create",
        "kept: unchanged",
        "new: create",
        '    + adapter: "llama.cpp"',
        "    starts: auto_start is true",
        "    place: n1",
        "changed: change (declared by other.toml)",
        "    ~ settings.slots: 2 -> 4",
        "    - auto_start: true",
        said.out.splitlines()[9],
        "    stops: auto_start is not true any more",
        "    place: nowhere. No node has the labels site=berlin. Label a node.",
        "gone: remove",
        "    stops: it is not declared any more",
        "1 to create, 1 to change, 1 to remove, 1 unchanged",
    ]
    assert not any(letter in said.out for letter in "\x1b\u202e\r\x9b")


async def test_planning_registers_nothing_and_says_which_models_it_would(
    run: Arwctl, state: Path, api: OperatorApi, manifest: Path
) -> None:
    assert (await run(*words("plan", manifest, state, "--prune"))).code == 0
    (asked,) = api.calls
    assert isinstance(asked, pb.PlanManifestRequest)
    assert (asked.source, asked.prune, asked.content) == ("tiny.toml", True, MANIFEST.encode())
    (model,) = asked.models
    assert (model.id, model.path) == ("tiny", str(manifest.parent / "tiny.gguf"))
    assert len(model.sha256) == 64


@pytest.mark.parametrize("command", ["plan", "diff"])
async def test_without_a_difference_the_exit_code_is_0(
    run: Arwctl, state: Path, api: OperatorApi, manifest: Path, command: str
) -> None:
    api.plan.runtimes.append(KEPT)
    assert (await run(*words(command, manifest, state))).code == 0
    api.plan.runtimes.append(NEW)
    assert (await run(*words(command, manifest, state))).code == DIFFERS


@pytest.mark.parametrize("command", ["plan", "diff"])
async def test_a_refused_manifest_is_no_difference(
    run: Arwctl, state: Path, api: OperatorApi, manifest: Path, command: str
) -> None:
    api.apply_refusal = RefusedManifest("tiny.toml is refused: line 7: no.", "Correct it.")
    assert (await run(*words(command, manifest, state))).code == ExitCode.FAILED


async def test_a_difference_is_written_as_lines(run: Arwctl, state: Path, api: OperatorApi, manifest: Path) -> None:
    api.plan.runtimes.extend([KEPT, CHANGED])
    lines = (await run(*words("diff", manifest, state))).out.splitlines()
    assert lines[:-1] == [
        "--- declared",
        "+++ tiny.toml",
        "@@ changed @@",
        "    - settings.slots = 2",
        "    + settings.slots = 4",
        "    - auto_start = true",
    ]


async def test_programs_get_the_values_themselves(run: Arwctl, state: Path, api: OperatorApi, manifest: Path) -> None:
    api.plan.runtimes.append(CHANGED)
    planned = json.loads((await run(*words("plan", manifest, state, "--output", "json"))).out)
    assert planned["runtimes"][0]["action"] == "change"
    (compared,) = json.loads((await run(*words("diff", manifest, state, "--output", "json"))).out)
    assert compared["changes"] == planned["runtimes"][0]["changes"]
    assert compared["changes"][0] == {"key": "settings.slots", "old": 2, "new": 4}
    assert compared["changes"][1] == {"key": "auto_start", "old": True, "new": None}


async def test_an_export_is_printed_as_it_is(run: Arwctl, state: Path, api: OperatorApi) -> None:
    said = await run("runtime", "export", "a/b", "c", "--context", state / "context.json")
    assert (said.code, said.out) == (0, "version = 1\n")
    assert api.calls[-1].names == ["runtimes/a__b", "runtimes/c"]
    assert api.calls[-1].format == runtime_service_pb2.MANIFEST_FORMAT_TOML
    await run("runtime", "export", "--output", "json", "--context", state / "context.json")
    assert api.calls[-1].format == runtime_service_pb2.MANIFEST_FORMAT_JSON
    refused = await run("runtime", "export", "--output", "yaml", "--context", state / "context.json")
    assert (refused.code, "TOML or JSON" in refused.err) == (ExitCode.FAILED, True)


async def test_pruning_is_asked_for_and_what_is_removed_is_told_and_not_waited_for(
    run: Arwctl, state: Path, api: OperatorApi, manifest: Path
) -> None:
    api.runtimes = [runtime()]
    api.outcome = pb.APPLY_OUTCOME_REMOVED
    said = await run(*words("apply", manifest, state, "--prune", "--wait"))
    assert (said.code, said.out, said.err) == (0, "llama.cpp-preview/cpu: removed\n", "")
    assert api.calls[-1].prune
