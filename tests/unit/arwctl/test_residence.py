from __future__ import annotations

from pathlib import Path

import pytest

from arw.v1 import instance_pb2, problem_pb2, runtime_pb2, runtime_service_pb2
from tests.fakes.operator_api import OperatorApi
from tests.unit.arwctl.conftest import EVIL, Arwctl


def sleeper(cause: str = "room") -> runtime_pb2.Runtime:
    made = runtime_pb2.Runtime(name="runtimes/chat", id="chat", node="nodes/n1", generation=1)
    made.desired_state = runtime_pb2.DESIRED_STATE_HIBERNATED
    made.spec.residence.on_demand = True
    made.spec.residence.idle_unload.seconds = 90
    made.sleep.since.FromJsonString("2026-11-20T12:00:00Z")
    made.sleep.cause = cause
    made.instance.CopyFrom(
        instance_pb2.Instance(state=instance_pb2.INSTANCE_STATE_HIBERNATED, state_label="Hibernated")
    )
    return made


@pytest.fixture
def context(state: Path, api: OperatorApi) -> tuple[str, Path]:
    api.runtimes.append(sleeper())
    return "--context", state / "context.json"


async def test_a_runtime_that_sleeps_says_since_when_and_why(run: Arwctl, context: tuple[str, Path]) -> None:
    said = await run("runtime", "get", "chat", *context)
    assert "Loaded:             when a request names it, out after 90 s without one\n" in said.out
    assert "Hibernated:         since 2026-11-20T12:00:00Z: another one needed its memory\n" in said.out


async def test_a_cause_of_a_newer_control_plane_is_shown_as_it_is_and_plain(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    api.runtimes[0].CopyFrom(sleeper(f"quiet-hours{EVIL}"))
    said = await run("runtime", "get", "chat", *context)
    assert "12:00:00Z: quiet-hours" in said.out
    assert "\x1b" not in said.out


async def test_orders_to_hibernate_and_to_wake_are_sent(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    assert (await run("runtime", "hibernate", "chat", *context)).out == "chat: hibernation accepted, Hibernated\n"
    assert (await run("runtime", "wake", "chat", *context)).out == "chat: wake accepted, Hibernated\n"
    assert [(type(call).__name__, call.name) for call in api.calls] == [
        ("HibernateRuntimeRequest", "runtimes/chat"),
        ("WakeRuntimeRequest", "runtimes/chat"),
    ]


async def test_waiting_for_one_that_does_not_wake_ends_with_the_reason(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    failed = sleeper()
    failed.sleep.problem.CopyFrom(
        problem_pb2.Problem(reason=problem_pb2.REASON_MEMORY_INSUFFICIENT, text="It is full.", remedy="Stop something.")
    )
    api.watched = [runtime_service_pb2.WatchRuntimesResponse(runtime=failed)]
    said = await run("runtime", "wake", "chat", "--wait", *context)
    assert said.code == 1
    assert "chat did not wake: It is full." in said.err
    assert "Stop something." in said.err
