from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from arw.v1 import event_pb2, node_pb2, runtime_matrix_pb2
from arwctl.exit_codes import ExitCode
from tests.fakes.operator_api import OperatorApi
from tests.unit.arwctl.conftest import EVIL, Arwctl, runtime


async def test_a_listing_comes_as_table_json_and_yaml(run: Arwctl, state: Path, api: OperatorApi) -> None:
    api.nodes = [
        node_pb2.Node(name="nodes/a", state=node_pb2.NODE_STATE_ONLINE, state_label="Online", labels={"zone": "b"})
    ]
    table = await run("nodes", "list", "--state-dir", state, "--context", state / "context.json")
    assert table.code == 0
    assert table.out.splitlines()[0].split() == ["NODE", "STATE", "AGENT", "ACCELERATORS", "LABELS", "LAST", "CONTACT"]
    assert "zone=b" in table.out
    as_json = await run("nodes", "list", "--output", "json", "--context", state / "context.json")
    as_yaml = await run("nodes", "list", "-o", "yaml", "--context", state / "context.json")
    assert json.loads(as_json.out) == yaml.safe_load(as_yaml.out)
    assert json.loads(as_json.out)[0]["state"] == "online"


async def test_the_context_is_taken_before_and_after_the_command(run: Arwctl, state: Path) -> None:
    context = state / "context.json"
    before = await run("--context", context, "nodes", "list")
    after = await run("nodes", "list", "--context", context)
    assert before.code == after.code == 0


async def test_the_state_directory_is_taken_before_and_after_the_command(
    run: Arwctl, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARW_CONTEXT")
    assert (await run("--state-dir", state, "runtime", "list")).code == 0
    assert (await run("runtime", "list", "--state-dir", state)).code == 0
    assert (await run("runtime", "--state-dir", state, "list")).code == 0
    monkeypatch.setenv("ARW_STATE_DIR", str(state))
    assert (await run("runtime", "list")).code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["llama.cpp-preview/cpu"],
        ["llama.cpp-preview__cpu"],
        ["runtimes/llama.cpp-preview__cpu"],
        ["--id", "llama.cpp-preview/cpu"],
        ["--runtime", "llama.cpp-preview/cpu"],
    ],
)
async def test_an_id_is_taken_positionally_or_by_option(
    run: Arwctl, state: Path, api: OperatorApi, words: list[str]
) -> None:
    api.runtimes = [runtime()]
    said = await run("runtime", "restore", *words, "--reset-budget", "--context", state / "context.json")
    assert said.code == 0
    assert "restore accepted" in said.out
    assert api.calls[-1].name == "runtimes/llama.cpp-preview__cpu"
    assert api.calls[-1].reset_budget


@pytest.mark.parametrize("words", [["restore"], ["restore", "a", "--id", "b"], ["stopp", "a"], ["apply"]])
async def test_wrong_usage_ends_with_its_own_code(run: Arwctl, words: list[str]) -> None:
    said = await run("runtime", *words)
    assert said.code == ExitCode.USAGE
    assert "arwctl runtime" in said.err


async def test_without_a_control_plane_the_code_says_unreachable(run: Arwctl, tmp_path: Path) -> None:
    said = await run("runtime", "status", "--context", tmp_path / "none.json")
    assert said.code == ExitCode.UNREACHABLE
    assert said.err.splitlines()[0].startswith("error: There is no context file at")
    assert said.err.splitlines()[1].startswith("next:  Start a control plane with `arwctl up`")


async def test_a_refusal_is_two_lines(run: Arwctl, state: Path) -> None:
    said = await run("nodes", "show", "ghost", "--context", state / "context.json")
    assert said.code == ExitCode.FAILED
    assert said.err == "error: There is no nodes/ghost.\nnext:  See `arwctl nodes list`.\n"
    assert said.out == ""


async def test_no_control_character_from_outside_reaches_the_terminal(
    run: Arwctl, state: Path, api: OperatorApi
) -> None:
    api.nodes = [node_pb2.Node(name=f"nodes/{EVIL}", state_label=EVIL, labels={"k": EVIL})]
    api.runtimes = [runtime(engine=EVIL)]
    api.log = [f"loading {EVIL}\nready\n".encode()]
    api.events = [event_pb2.Event(id=1, kind=EVIL, subject=EVIL)]
    context = ["--context", state / "context.json"]
    for words in (
        ["nodes", "list"],
        ["nodes", "list", "-o", "json"],
        ["nodes", "list", "-o", "yaml"],
        ["nodes", "show", f"nodes/{EVIL}"],
        ["runtime", "list"],
        ["runtime", "logs", "x"],
        ["events"],
        ["events", "-o", "json"],
    ):
        said = await run(*words, *context)
        assert said.code == 0, words
        assert not {"\x1b", "\x07", "\u202e", "\r", "\x9b"} & set(said.out), words
    said = await run("nodes", "show", f"ghost{EVIL}", *context)
    assert said.code == ExitCode.FAILED
    assert "\x1b" not in said.err


async def test_status_as_json_holds_supervisor_and_matrix_with_every_pid(
    run: Arwctl, state: Path, api: OperatorApi
) -> None:
    snapshot = api.supervisor.supervisor
    snapshot.control_plane_pid, snapshot.agent_pid = 11, 12
    entry = snapshot.runtimes.add()
    entry.descriptor.id = "tiny"
    entry.status.state, entry.status.state_label = "ready", "Ready"
    entry.status.shim_pid, entry.status.engine_pid = 13, 14
    entry.status.restart_budget.max_restarts = entry.status.restart_budget.remaining = 3
    node = api.matrix.matrix.items["local"]
    node.status.label = "Ready - Runtime telemetry nominal"
    node.status.aria_hint = "Runtime status Ready - Runtime telemetry nominal."
    node.runtime.total = 1
    node.runtime.update_time.GetCurrentTime()
    api.matrix.matrix.ttl_seconds = 60
    said = await run("runtime", "status", "--json", "--context", state / "context.json")
    found = json.loads(said.out)
    assert set(found) == {"supervisor", "matrix"}
    assert (found["supervisor"]["control_plane_pid"], found["supervisor"]["agent_pid"]) == (11, 12)
    assert found["supervisor"]["runtimes"][0]["status"]["shim_pid"] == 13
    assert found["supervisor"]["runtimes"][0]["status"]["engine_pid"] == 14
    assert found["matrix"]["ttl_seconds"] == 60
    assert found["matrix"]["items"]["local"]["status"]["aria_hint"]
    assert found["matrix"]["items"]["local"]["runtime"]["updated"].endswith("Z")
    text = await run("runtime", "status", "--context", state / "context.json")
    assert "Runtimes: 1/1 ready, minimum 3 restarts left" in text.out
    assert "Matrix: ttl 60s (1 node)" in text.out
    missing = await run("runtime", "status", "ghost", "--context", state / "context.json")
    assert (missing.code, "There is no runtime 'ghost'" in missing.err) == (ExitCode.FAILED, True)


def test_a_matrix_renamed_for_scripts_has_the_names_of_the_contract_elsewhere() -> None:
    fields = {field.name for field in runtime_matrix_pb2.RuntimeRollup.DESCRIPTOR.fields}
    assert {"total", "update_time", "states", "severity", "alerts", "restart_pressure", "by_accelerator"} == fields


async def test_a_label_change_keeps_the_other_labels_and_the_etag(run: Arwctl, state: Path, api: OperatorApi) -> None:
    api.nodes = [node_pb2.Node(name="nodes/a", etag="7", labels={"zone": "b", "old": "1"}, schedulable=True)]
    said = await run(
        *("nodes", "update", "a", "--label", "gpu=yes", "--remove-label", "old", "--cordon"),
        *("--context", state / "context.json"),
    )
    assert said.code == 0
    sent = api.calls[-1].node
    assert (dict(sent.labels), sent.schedulable, sent.etag) == ({"zone": "b", "gpu": "yes"}, False, "7")


async def test_a_token_alone_is_on_standard_output(run: Arwctl, state: Path, api: OperatorApi) -> None:
    said = await run("nodes", "token", "create", "--ttl", "2h", "--context", state / "context.json")
    assert (said.code, said.out) == (0, "id.secret.pin\n")
    assert "arw-node-agent join --server host:7444 --token-file -" in said.err
    assert api.calls[0].ttl.seconds == 7200


def test_help_is_quick_because_it_imports_neither_client_nor_rich() -> None:
    script = (
        "import sys\nfrom arwctl.main import app\n"
        "try: app(['--help'], prog_name='arwctl')\nexcept SystemExit: pass\n"
        "print(sorted({'grpclib', 'betterproto2', 'rich', 'yaml', 'asyncio', 'arw_client'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Exit codes" in done.stdout
