from __future__ import annotations

import json
from pathlib import Path

import pytest

from arw.v1 import event_pb2, instance_pb2, problem_pb2, runtime_service_pb2
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
    followed = await run("events", "--follow", "--after", "7", "-o", "json", *context)
    assert [json.loads(line)["id"] for line in followed.out.splitlines()] == [1, 2]
    assert api.calls[-1].after_id == 7


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
