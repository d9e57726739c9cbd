from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from control_plane.domain.execution import ExecutionMode
from control_plane.domain.health import Grade, grade, last_error
from control_plane.domain.instance import ExitRecord, InstanceHealth, InstanceState, ProcessIdentity, Severity
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import DesiredState
from control_plane.domain.supervisor import Snapshot, rows
from control_plane.domain.view import view_of, with_severity
from control_plane.http.convert import runtimes_to_json, supervisor_to_json
from tests.fakes.clock import NOON
from tests.fakes.control_plane import a_budget, a_runtime, a_spec, an_instance


def graded(state: InstanceState, **changed: Any) -> Grade:
    return grade(view_of(a_runtime(node="n1"), an_instance(state=state, **changed), online=True))


def test_a_quiet_ready_runtime_has_the_best_grade() -> None:
    assert graded(InstanceState.READY) is Grade.A
    assert graded(InstanceState.READY, restart_budget=a_budget(0)) is Grade.A


def test_restarts_or_slow_probes_cost_the_best_grade() -> None:
    assert graded(InstanceState.READY, restart_budget=a_budget(1)) is Grade.B
    assert graded(InstanceState.READY, health=InstanceHealth(timedelta(seconds=2))) is Grade.B


@pytest.mark.parametrize("state", InstanceState)
def test_every_state_has_a_grade(state: InstanceState) -> None:
    worse = {
        InstanceState.READY: "A",
        InstanceState.DEGRADED: "C",
        InstanceState.ERROR: "F",
        InstanceState.OFFLINE: "F",
    }
    assert graded(state) == worse.get(state, "D")


@pytest.mark.parametrize(
    ("state", "floor"),
    [
        (InstanceState.READY, Severity.INFO),
        (InstanceState.DEGRADED, Severity.WARN),
        (InstanceState.UNKNOWN, Severity.WARN),
        (InstanceState.ERROR, Severity.ERROR),
    ],
)
def test_severity_is_at_least_that_of_the_state(state: InstanceState, floor: Severity) -> None:
    assert with_severity(an_instance(state=state)).severity is floor
    assert with_severity(an_instance(state=state, severity=Severity.ERROR)).severity is Severity.ERROR


def test_a_placed_runtime_that_nobody_spoke_of_is_pending_or_unknown() -> None:
    runtime = a_runtime(node="n1")
    assert view_of(runtime, None, online=True).state is InstanceState.PENDING
    assert view_of(runtime, None, online=False).state is InstanceState.UNKNOWN


def test_an_unplaced_runtime_has_no_instance_and_says_why() -> None:
    problem = Problem("NO_NODE", "No machine has joined yet.")
    view = view_of(a_runtime(placement_problem=problem), None, online=False)
    assert view.instance is None
    assert (view.state, view.severity, view.summary) == (InstanceState.PENDING, Severity.WARN, problem.text)
    stopped = view_of(a_runtime(desired_state=DesiredState.STOPPED), None, online=False)
    assert (stopped.state, stopped.severity) == (InstanceState.OFFLINE, Severity.INFO)


def test_an_empty_summary_is_replaced_by_the_state() -> None:
    assert view_of(a_runtime(node="n1"), an_instance(), online=True).summary == "state set to Ready"


def test_rows_come_in_id_order_with_what_is_known() -> None:
    ready = an_instance(
        "b",
        ready_time=NOON - timedelta(seconds=5),
        process=ProcessIdentity("boot", 42, 7, 41),
        incarnation=3,
        engine="llama.cpp b11549",
        restart_budget=a_budget(1),
    )
    views = [
        view_of(a_runtime("b", "n1", a_spec(display_name="Chat", tags={"a": "b"})), ready, online=True),
        view_of(a_runtime("a"), None, online=False),
    ]
    first, second = rows(views, NOON)
    assert [first.descriptor.id, second.descriptor.id] == ["a", "b"]
    assert (first.status.node, first.status.uptime, first.status.engine_pid) == (None, timedelta(), 0)
    assert second.descriptor.name == "Chat"
    assert second.descriptor.tags == {"a": "b"}
    assert second.status.uptime == timedelta(seconds=5)
    assert (second.status.engine_pid, second.status.shim_pid, second.status.incarnation) == (42, 41, 3)
    assert second.status.health_grade is Grade.B
    assert second.status.restart_budget == a_budget(1)


def nested_status(of: Snapshot) -> dict[str, Any]:
    status: dict[str, Any] = msgspec.to_builtins(supervisor_to_json(of))["runtimes"][0]["status"]
    return status


def flat_status(of: Snapshot) -> dict[str, Any]:
    status: dict[str, Any] = msgspec.to_builtins(runtimes_to_json(of))["runtimes"][0]
    return status


def test_how_a_runtime_is_run_and_why_stands_in_both_read_models() -> None:
    contained = an_instance(execution_mode=ExecutionMode.CONTAINER, execution_reason="preferred by the manifest")
    found = rows([view_of(a_runtime(node="n1"), contained, online=True)], NOON)
    snapshot = Snapshot(NOON, found, 1, 0, "0")
    nested = nested_status(snapshot)
    flat = flat_status(snapshot)
    for shape in (nested, flat):
        assert (shape["execution_mode"], shape["execution_reason"]) == ("container", "preferred by the manifest")
    never = rows([view_of(a_runtime(node="n1"), an_instance(), online=True)], NOON)
    assert "execution_mode" not in flat_status(Snapshot(NOON, never, 1, 0, "0"))


@pytest.mark.parametrize("warm", [True, False, None])
def test_a_prompt_cache_is_shown_as_it_is_told_and_not_at_all_when_it_is_not(warm: bool | None) -> None:
    found = rows([view_of(a_runtime(node="n1"), an_instance(prompt_cache_warm=warm), online=True)], NOON)
    snapshot = Snapshot(NOON, found, 1, 0, "0")
    for shape in (nested_status(snapshot), flat_status(snapshot)):
        assert shape.get("prompt_cache_warm") is warm
        assert ("prompt_cache_warm" in shape) == (warm is not None)


def test_a_runtime_that_does_not_serve_has_no_uptime() -> None:
    instance = an_instance(state=InstanceState.STARTING, ready_time=NOON - timedelta(hours=1))
    (row,) = rows([view_of(a_runtime(node="n1"), instance, online=True)], NOON)
    assert row.status.uptime == timedelta()


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (None, ""),
        (ExitRecord(exit_code=0), ""),
        (ExitRecord(exit_code=3), "Exited with code 3"),
        (ExitRecord(signal=11), "Ended by signal 11"),
        (ExitRecord(signal=9, oom_killed=True), "Killed for lack of memory"),
    ],
)
def test_the_last_error_is_told_in_words(end: ExitRecord | None, text: str) -> None:
    assert last_error(an_instance(last_exit=end)) == text


def test_a_problem_comes_before_the_last_exit() -> None:
    instance = an_instance(problem=Problem("PROBES_FAILED", "It answers no more."), last_exit=ExitRecord(signal=9))
    assert last_error(instance) == "It answers no more."
