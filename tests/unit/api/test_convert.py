"""What operators are told by gRPC is what dashboards are told by HTTP."""

from __future__ import annotations

from datetime import timedelta

import pytest
from google.protobuf.message import Message

from arw.v1 import event_pb2, runtime_matrix_pb2, watcher_pb2
from control_plane.api.convert import event_to_proto, matrix_to_proto, supervisor_to_proto
from control_plane.api.convert_state import watchers_to_proto
from control_plane.domain.event import Event, keyed
from control_plane.domain.matrix import HttpFigures, Matrix, entry
from control_plane.domain.problem import Problem
from control_plane.domain.supervisor import Snapshot, rows
from control_plane.domain.view import RuntimeView
from control_plane.domain.watcher import Look, WatchArea, Watcher, Watchers, WatchReason
from control_plane.http import grid_shapes, shapes, watcher_shapes
from control_plane.http.convert import event_to_json, matrix_to_json
from control_plane.http.convert_watchers import watchers_to_json
from tests.fakes.clock import NOON
from tests.fakes.control_plane import a_node, a_runtime, an_instance, seen

RENAMED = {
    "update_time": "updated_at",
    "generate_time": "generated",
    "window": "window_seconds",
    "last_ok_time": "last_ok_at",
    "last_reason_time": "last_reason_at",
    "last_error_time": "last_error_at",
    "status_time": "status_since",
}


@pytest.mark.parametrize(
    ("message", "shape"),
    [
        (event_pb2.Event, shapes.Event),
        (runtime_matrix_pb2.HttpRollup, shapes.HttpFigures),
        (runtime_matrix_pb2.RuntimeMatrixEntry, shapes.MatrixEntry),
        (runtime_matrix_pb2.RuntimeMatrixStatus, shapes.MatrixStatus),
        (runtime_matrix_pb2.RuntimeStatus, shapes.Status),
        (runtime_matrix_pb2.RuntimeGridCell, grid_shapes.GridCell),
        (runtime_matrix_pb2.RuntimeGridFigures, grid_shapes.GridFigures),
        (watcher_pb2.Watchers, watcher_shapes.RuntimeWatchers),
        (watcher_pb2.Watcher, watcher_shapes.Watcher),
    ],
)
def test_both_edges_tell_the_same(message: type[Message], shape: type[shapes.Shape]) -> None:
    names = {RENAMED.get(field.name, field.name) for field in message.DESCRIPTOR.fields}
    assert names == set(shape.__struct_fields__)


def test_errors_of_engines_are_told_beside_those_of_the_node() -> None:
    figures = HttpFigures(timedelta(minutes=5), hits=9, errors=1, engine_errors=2)
    matrix = Matrix(60, NOON, {a_node().id: entry(seen(a_node()), [], figures, NOON)})
    told = matrix_to_proto(matrix).items["n1"].http
    shown = matrix_to_json(matrix).items[a_node().id].http
    assert shown is not None
    assert (told.errors, told.engine_errors) == (shown.errors, shown.engine_errors) == (1, 2)


@pytest.mark.parametrize("warm", [True, False, None])
def test_a_prompt_cache_is_warm_or_empty_or_nobody_says(warm: bool | None) -> None:
    view = RuntimeView(a_runtime(node="n1"), an_instance(prompt_cache_warm=warm))
    snapshot = Snapshot(NOON, rows([view], NOON), 1, 0, "test")
    status = supervisor_to_proto(snapshot, NOON).runtimes[0].status
    assert (status.prompt_cache_warm if status.HasField("prompt_cache_warm") else None) is warm


def test_an_event_has_a_key_that_no_other_history_gives_again() -> None:
    (one,), (other,) = keyed([Event("a", "x", id=7, time=NOON)], "h1"), keyed([Event("a", "x", id=7, time=NOON)], "h2")
    assert event_to_proto(one).dedup_key == event_to_json(one).dedup_key == "h1/7"
    assert one.key != other.key


def test_what_a_watcher_does_not_know_is_absent() -> None:
    fresh = Watcher(WatchArea.MANIFEST_FILES, ("a.toml",))
    wrong = fresh.after(Look(0, Problem("MANIFEST_INVALID", "It is wrong.", "Mend it.")), NOON)
    well = wrong.after(Look(1, reason=WatchReason.START), NOON)
    now = NOON + timedelta(seconds=2)
    unknown, degraded, ok = watchers_to_proto(Watchers((fresh, wrong, well), now)).watchers
    assert not unknown.HasField("last_ok_time")
    assert not unknown.HasField("last_ok_age_ms")
    assert (degraded.status, degraded.severity, degraded.last_error_remedy) == ("degraded", "warn", "Mend it.")
    assert (ok.status, ok.last_ok_age_ms, ok.last_reason, ok.last_error) == ("ok", 2000, "start", "It is wrong.")
    assert watchers_to_json(Watchers((fresh, well), now)).status == "ok"
    assert watchers_to_json(Watchers((wrong, well), now)).status == "degraded"
