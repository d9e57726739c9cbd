from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.instance import Instance, InstanceState, Severity
from control_plane.domain.matrix import (
    Code,
    Finding,
    HttpFigures,
    MatrixEntry,
    MatrixStatus,
    entry,
    status,
    ttl_seconds,
)
from control_plane.domain.node import Liveness, LocalLimits, Standing
from control_plane.domain.node_view import NodeView
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import DesiredState
from control_plane.domain.view import RuntimeView, view_of
from tests.fakes.clock import NOON
from tests.fakes.control_plane import a_budget, a_node, a_runtime, a_spec, an_instance, an_inventory, seen

NODE = seen(a_node())
MINUTES = timedelta(minutes=5)


def viewed(instance: Instance | None = None, name: str = "chat", **changed: Any) -> RuntimeView:
    return view_of(a_runtime(name, "n1", **changed), instance or an_instance(name), online=True)


def entry_of(*views: RuntimeView, node: NodeView = NODE, http: HttpFigures | None = None) -> MatrixEntry:
    return entry(node, views, http, NOON)


def test_a_node_where_all_is_well_reads_exactly_as_the_seeds_say() -> None:
    said = entry_of(viewed()).status
    assert said.code == "ok"
    assert said.severity == "info"
    assert said.severity.label == "Info"
    assert said.label == "Ready - Runtime telemetry nominal"
    assert said.detail == ("Running within expected ranges",)
    assert said.aria_hint == "Runtime status Ready - Runtime telemetry nominal. Running within expected ranges"


def test_a_node_without_runtimes_is_well() -> None:
    assert entry_of().status.code is Code.OK
    assert entry_of().runtime.total == 0


def test_a_degraded_runtime_degrades_its_node_and_says_why() -> None:
    instance = an_instance(state=InstanceState.DEGRADED, summary="Degraded - CPU fallback", detail=("", "no GPU"))
    said = entry_of(viewed(instance))
    assert said.status.code is Code.DEGRADED
    assert said.status.severity is Severity.WARN
    assert said.status.label == "Degraded - Runtime issues: chat: Degraded - CPU fallback (no GPU)"
    assert said.runtime.alerts == ("chat: Degraded - CPU fallback (no GPU)",)


def test_a_failed_runtime_makes_its_node_an_error() -> None:
    instance = an_instance(state=InstanceState.ERROR, summary="Engine exited")
    said = entry_of(viewed(instance)).status
    assert (said.code, said.severity) == (Code.ERROR, Severity.ERROR)
    assert said.label == "Error - Runtime issues: chat: Engine exited"


def test_a_runtime_that_was_stopped_on_purpose_is_no_issue() -> None:
    off = an_instance(state=InstanceState.OFFLINE)
    assert entry_of(viewed(off, desired_state=DesiredState.STOPPED)).status.code is Code.OK
    assert entry_of(viewed(off)).status.code is Code.DEGRADED


def test_an_offline_node_is_offline_with_the_reason_first() -> None:
    node = seen(a_node(), online=False)
    said = entry_of(view_of(a_runtime(node="n1"), None, online=False), node=node)
    assert said.status.code is Code.OFFLINE
    assert said.status.label == "Offline - No contact since 2026-11-20T12:00:00Z"
    assert said.runtime.states == {"unknown": 1}


def test_silence_is_a_warning_first_and_an_error_later() -> None:
    node = NodeView(a_node(), Liveness(online=False, last_contact=NOON, offline_since=NOON))
    assert entry(node, (), None, NOON + timedelta(seconds=60)).status.severity is Severity.WARN
    assert entry(node, (), None, NOON + timedelta(seconds=61)).status.severity is Severity.ERROR


@pytest.mark.parametrize(
    ("node", "code", "label"),
    [
        (
            seen(a_node(standing=Standing.WAITING_FOR_APPROVAL), online=False),
            Code.OFFLINE,
            "Offline - Waiting for an operator's approval",
        ),
        (seen(a_node(session_epoch=0), online=False), Code.OFFLINE, "Offline - Has never connected"),
        (
            seen(a_node(standing=Standing.QUARANTINED)),
            Code.ERROR,
            "Error - Quarantined: two agents used one identity; approve or revoke it",
        ),
    ],
)
def test_a_node_that_may_not_work_says_why(node: NodeView, code: Code, label: str) -> None:
    said = entry_of(node=node).status
    assert (said.code, said.label) == (code, label)


def test_slow_answers_never_lower_the_severity_that_errors_gave() -> None:
    said = entry_of(http=HttpFigures(MINUTES, hits=100, errors=11, mean_first_byte_ms=1600.4)).status
    assert said.code is Code.DEGRADED
    assert said.severity is Severity.ERROR
    assert said.detail == ("HTTP errors recorded: 11", "High average latency 1600 ms")


def test_what_engines_answer_with_an_error_is_told_and_degrades_no_node() -> None:
    few = entry_of(http=HttpFigures(MINUTES, hits=100, errors=0, engine_errors=10)).status
    assert (few.code, few.severity, few.detail) == (Code.OK, Severity.INFO, ("Errors answered by engines: 10",))
    many = entry_of(http=HttpFigures(MINUTES, hits=100, errors=0, engine_errors=11)).status
    assert (many.code, many.severity) == (Code.OK, Severity.WARN)


def test_a_node_that_is_short_of_room_is_degraded_and_one_outside_its_hours_is_not() -> None:
    def of(problem: Problem) -> MatrixStatus:
        limits = LocalLimits(closed=problem)
        return entry_of(node=seen(a_node(inventory=replace(an_inventory(), limits=limits)))).status

    full = of(Problem("DISK_PRESSURE", "The disk with /state is nearly full.", "Make room there."))
    assert (full.code, full.severity) == (Code.DEGRADED, Severity.WARN)
    assert full.detail == ("The disk with /state is nearly full.", "Make room there.")
    assert of(Problem("LOCAL_POLICY_DENIED", "Closed.", metadata={"rule": "hours"})).code is Code.OK


def test_a_few_http_errors_are_a_warning_and_none_in_the_window_are_nothing() -> None:
    few = HttpFigures(MINUTES, hits=100, errors=10, mean_first_byte_ms=1500)
    assert entry_of(http=few).status.severity is Severity.WARN
    assert entry_of(http=HttpFigures(MINUTES, hits=0, errors=0)).status.code is Code.OK
    assert HttpFigures(MINUTES, hits=0, errors=0).error_rate is None
    assert few.error_rate == 0.1


def test_an_untouched_budget_is_never_low() -> None:
    for most in (0, 1):
        assert entry_of(viewed(an_instance(restart_budget=a_budget(0, most)))).runtime.restart_pressure == ()


def test_a_low_and_an_exhausted_budget_are_told_with_their_reset() -> None:
    low = entry_of(viewed(an_instance(restart_budget=a_budget(2))))
    assert low.runtime.restart_pressure == (
        "chat restart budget low (1 of 3 remaining; window 600s; resets at 2026-11-20T12:10:00Z)",
    )
    spent = entry_of(viewed(an_instance(restart_budget=a_budget(3))))
    assert spent.runtime.restart_pressure == (
        "chat restart budget exhausted (3/3 used; resets at 2026-11-20T12:10:00Z)",
    )
    assert spent.status.code is Code.DEGRADED
    assert spent.status.detail[0].startswith("Restart budgets: chat restart budget exhausted")


def test_a_budget_with_room_is_no_pressure() -> None:
    assert entry_of(viewed(an_instance(restart_budget=a_budget(1)))).runtime.restart_pressure == ()


def test_the_reason_for_the_code_comes_first() -> None:
    failed = viewed(an_instance(state=InstanceState.ERROR, summary="Engine exited"))
    said = entry_of(failed, http=HttpFigures(MINUTES, 10, 1)).status
    assert said.label == "Error - Runtime issues: chat: Engine exited"
    assert said.detail[1] == "HTTP errors recorded: 1"


def test_reasons_are_trimmed_once_each_and_at_most_eight() -> None:
    exact, long = "x" * 240, "y" * 241
    texts = [exact, long, f" {exact} ", "", *(f"reason {number}" for number in range(9))]
    said = status([Finding(Code.DEGRADED, Severity.WARN, text) for text in texts])
    assert said.detail[0] == exact
    assert said.detail[1] == "y" * 239 + "…"
    assert len(said.detail) == 8
    assert said.aria_hint == f"Runtime status {said.label}. {'; '.join(said.detail)}"


def test_states_add_up_by_accelerator_under_readable_labels() -> None:
    cuda = an_instance("a", accelerator=AcceleratorKind.GPU_CUDA)
    views = (
        viewed(cuda, "a"),
        viewed(an_instance("b", state=InstanceState.STARTING), "b", spec=a_spec(accelerator=AcceleratorKind.CPU)),
        viewed(an_instance("c"), "c"),
    )
    found = entry_of(*views).runtime
    assert found.states == {"ready": 2, "starting": 1}
    assert found.severity == {"info": 3}
    assert {label: group.total for label, group in found.by_accelerator.items()} == {
        "CPU": 1,
        "GPU (CUDA)": 1,
        "Unspecified": 1,
    }
    assert found.by_accelerator["CPU"].states == {"starting": 1}


@pytest.mark.parametrize(("seconds", "ttl"), [(1, 60), (10, 60), (20, 60), (30, 90)])
def test_a_snapshot_is_fresh_for_three_heartbeats_and_at_least_a_minute(seconds: int, ttl: int) -> None:
    assert ttl_seconds(timedelta(seconds=seconds)) == ttl
