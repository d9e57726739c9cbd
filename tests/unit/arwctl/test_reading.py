from __future__ import annotations

import json
from pathlib import Path

import pytest

from arw.v1 import event_pb2, instance_pb2, problem_pb2, runtime_matrix_pb2, runtime_service_pb2
from arwctl import tiny_model
from arwctl.exit_codes import ExitCode
from arwctl.groups.model import id_of
from arwctl.plain import one_line, plain
from arwctl.status_view import span
from arwctl.targets import seconds
from tests.fakes.operator_api import OperatorApi
from tests.unit.arwctl.conftest import Arwctl, runtime


def event(number: int, kind: str, **payload: str) -> event_pb2.Event:
    made = event_pb2.Event(id=number, kind=kind, subject="runtimes/tiny")
    made.payload.update(payload)
    return made


async def test_events_come_as_lines_of_text_or_json(run: Arwctl, state: Path, api: OperatorApi) -> None:
    api.events = [event(1, "runtime.state.changed", state="ready", severity="info"), event(2, "node.online")]
    context = ["--context", state / "context.json"]
    text = await run("events", "--prefix", "runtime.", "--prefix", "node.", "--limit", "5", *context)
    assert [line.split()[2] for line in text.out.splitlines()] == ["runtime.state.changed", "node.online"]
    assert text.out.splitlines()[0].endswith("runtimes/tiny  ready")
    assert list(api.calls[0].prefixes) == ["runtime.", "node."]
    assert api.calls[0].page_size == 5
    followed = await run("events", "--follow", "--after", "1", "-o", "json", *context)
    assert [json.loads(line)["id"] for line in followed.out.splitlines()] == [2], "each once, though it comes again"
    assert api.calls[-1].after_id == 1


@pytest.mark.parametrize("word", ["modular", "journal", "tail"])
async def test_the_journal_has_several_names(run: Arwctl, state: Path, api: OperatorApi, word: str) -> None:
    api.events = [event(1, "runtime.state.changed", state="ready")]
    words = ["events", word, "--prefix", "runtime.state.changed", "--follow"]
    said = await run(*words, "--context", state / "context.json")
    assert (said.code, said.out.split()[2]) == (0, "runtime.state.changed")
    assert list(api.calls[-1].prefixes) == ["runtime.state.changed"]


async def test_explain_says_for_each_node_why(run: Arwctl, state: Path, api: OperatorApi) -> None:
    problem = problem_pb2.Problem(reason=problem_pb2.REASON_LABELS_UNMATCHED, text="zone is not b.", remedy="Label it.")
    api.explanation = runtime_service_pb2.ExplainRuntimeResponse(
        runtime=runtime(),
        verdicts=[
            runtime_service_pb2.PlacementVerdict(node="nodes/a", chosen=True, score=3, score_reasons=["is there"]),
            runtime_service_pb2.PlacementVerdict(node="nodes/c", problems=[problem]),
        ],
    )
    said = await run("runtime", "explain", "llama.cpp-preview/cpu", "--context", state / "context.json")
    assert said.code == 0
    assert "  a: chosen, score 3\n      is there\n" in said.out
    assert "  c: not possible, score 0\n      labels_unmatched: zone is not b. Label it.\n" in said.out


async def test_explain_says_why_a_runtime_is_still_where_it_is_and_what_it_left_behind(
    run: Arwctl, state: Path, api: OperatorApi
) -> None:
    stays = runtime()
    stays.stuck.CopyFrom(problem_pb2.Problem(text="It fits nowhere else.", remedy="Join a node."))
    api.explanation = runtime_service_pb2.ExplainRuntimeResponse(
        runtime=stays,
        waits=problem_pb2.Problem(text="Node a is silent.", remedy="Start its agent."),
        copies=[instance_pb2.Instance(name="nodes/b/instances/x__y", state_label="Unknown")],
    )
    lines = (await run("runtime", "explain", "x", "--context", state / "context.json")).out.splitlines()
    assert "  It fits nowhere else. Join a node." in lines
    assert "  Node a is silent. Start its agent." in lines
    assert "  left on b: Unknown; it serves nothing, and stops when b hears of it" in lines


async def test_a_shutdown_says_where_the_runtime_stands(run: Arwctl, state: Path, api: OperatorApi) -> None:
    stopping = runtime(instance_pb2.INSTANCE_STATE_STOPPING)
    stopping.instance.state_label = "Stopping"
    api.runtimes = [stopping]
    said = await run("runtime", "shutdown", "--id", "llama.cpp-preview/cpu", "--context", state / "context.json")
    assert said.out == "llama.cpp-preview/cpu: shutdown accepted, Stopping\n"


async def test_dropped_log_bytes_are_told_apart_from_the_log(run: Arwctl, state: Path, api: OperatorApi) -> None:
    api.log = [b"one\r\n", "zwei ä\n".encode()]
    said = await run("runtime", "logs", "tiny", "--tail", "7", "--context", state / "context.json")
    assert said.out == "one\nzwei ä\n"
    assert api.calls[0].tail_lines == 7


async def test_a_model_is_added_under_the_name_of_its_file(
    run: Arwctl, state: Path, api: OperatorApi, tmp_path: Path
) -> None:
    file = tiny_model.write(tmp_path / "My Model.Q4_K_M.gguf")
    said = await run("model", "add", file, "-o", "json", "--context", state / "context.json")
    assert json.loads(said.out)["id"] == "my-model.q4-k-m"
    assert api.calls[0].model.format == "gguf"


async def test_versions_are_told_even_without_a_control_plane(run: Arwctl, state: Path, api: OperatorApi) -> None:
    api.supervisor.supervisor.version = "9.9"
    assert "control_plane: 9.9" in (await run("version", "--context", state / "context.json")).out
    alone = await run("version", "--context", state / "none.json")
    assert (alone.code, "control_plane: not reached" in alone.out) == (ExitCode.OK, True)


@pytest.mark.parametrize(("file", "id_"), [("a.gguf", "a"), ("-X__y-.gguf", "x-y"), ("ü.gguf", "model")])
def test_ids_made_of_file_names_are_valid(file: str, id_: str) -> None:
    assert id_of(Path(file)) == id_


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800)])
def test_durations_are_read(text: str, value: float) -> None:
    assert seconds(text) == value


def test_durations_are_shown_for_people() -> None:
    assert [span(each * 1000) for each in (0, 119, 120, 7200, 172_800)] == ["0 s", "119 s", "2 min", "2 h", "2 d"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü 日本 👍🏽", "plain äöü 日本 👍🏽"),
        ("\x1b[2J\x1b]8;;http://x\x07", "\\x1b[2J\\x1b]8;;http://x\\x07"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("a\x7f\x85\x9b", "a\\x7f\\x85\\x9b"),
        ("keep\nthis\ttoo", "keep\nthis\ttoo"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    assert plain(text) == shown
    assert "\n" not in one_line(text)


async def test_the_matrix_names_each_node_with_what_its_requests_met(
    run: Arwctl, state: Path, api: OperatorApi
) -> None:
    entry = api.matrix.matrix.items["box"]
    entry.target, entry.status.label = "box", "Ready - Runtime telemetry nominal"
    entry.runtime.by_accelerator["CPU"].states["ready"] = 2
    entry.http.hits, entry.http.errors, entry.http.engine_errors, entry.http.mean_first_byte_ms = 9, 1, 2, 41.6
    api.matrix.matrix.ttl_seconds = 60
    said = await run("runtime", "matrix", "--context", state / "context.json")
    row = said.out.splitlines()[1]
    assert row.split("  ")[0] == "box"
    for part in ("Ready - Runtime telemetry nominal", "CPU: 2 ready", "9", "1 and 2 of engines", "42 ms"):
        assert part in row
    assert said.out.splitlines()[-1] == "ttl 60s"
    found = await run("runtime", "matrix", "-o", "json", "--context", state / "context.json")
    assert json.loads(found.out)["items"]["box"]["http"]["engine_errors"] == 2


async def test_the_grid_has_a_line_for_each_model_on_each_accelerator_in_each_sandbox(
    run: Arwctl, state: Path, api: OperatorApi
) -> None:
    figures = runtime_matrix_pb2.RuntimeGridFigures(
        runtimes=1, inflight_requests=1, slots=4, served_tokens_per_second=3.25, generated_tokens_per_second=92.5
    )
    cell = runtime_matrix_pb2.RuntimeGridCell(
        model="tiny",
        node="box",
        accelerator_label="GPU (CUDA)",
        sandbox_label="Native sandbox",
        health_grade="A",
        runtimes=["chat"],
        states={"ready": 1},
        figures=figures,
    )
    api.grid.grid.cells.append(cell)
    api.grid.grid.by_accelerator["GPU (CUDA)"].CopyFrom(figures)
    api.grid.grid.ttl_seconds = 60
    api.grid.grid.window.FromSeconds(300)
    said = await run("runtime", "matrix", "--grid", "--context", state / "context.json")
    head, row, roll_up, note = said.out.splitlines()
    assert head.split()[:4] == ["MODEL", "NODE", "ACCELERATOR", "SANDBOX"]
    assert " ".join(row.split()) == "tiny box GPU (CUDA) Native sandbox 1 ready A 1/4 92.5 3.25 chat"
    assert roll_up == "GPU (CUDA): 1 runtime, slots 1/4, 3.25 tok/s served, 92.5 alone"
    assert note == "ttl 60s; served: of the last 5 min; alone: one request, as it was learnt"
    found = json.loads(
        (await run("runtime", "matrix", "--grid", "-o", "json", "--context", state / "context.json")).out
    )
    assert found["window_seconds"] == 300
    assert "prompt_tokens_per_second" not in found["cells"][0]["figures"], "unknown is not zero"


async def test_watchers_say_what_is_wrong_since_when_and_what_to_do(run: Arwctl, state: Path, api: OperatorApi) -> None:
    context = ["--context", state / "context.json"]
    assert "Nothing is watched" in (await run("state", "watchers", *context)).err
    watcher = api.watchers.watchers.watchers.add(
        id="manifest_directory",
        label="Manifest directory",
        status="degraded",
        status_label="Degraded",
        severity="warn",
        summary="a.toml is refused.",
        paths=["/etc/arw"],
        last_ok_age_ms=7_200_000,
        last_reason="content_changed",
        last_error="a.toml is refused.",
        last_error_remedy="Correct it.",
    )
    watcher.last_ok_time.FromSeconds(1)
    said = await run("state", "watchers", *context)
    lines = [line.strip() for line in said.out.splitlines()]
    assert lines[0] == "Manifest directory  Degraded"
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "Now",
        "Looks at",
        "Last ok",
        "Loaded",
        "Last error",
        "Next",
    ]
    assert lines[3].endswith("2 h ago")
    (found,) = json.loads((await run("state", "watchers", "-o", "json", *context)).out)["watchers"]
    assert (found["status"], found["last_ok_age_ms"]) == ("degraded", 7_200_000)
