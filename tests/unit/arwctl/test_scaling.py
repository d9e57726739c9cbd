from __future__ import annotations

import json
from pathlib import Path

import pytest

from arw.v1 import instance_pb2, runtime_matrix_pb2, runtime_pb2, runtime_service_pb2
from tests.fakes.operator_api import OperatorApi
from tests.unit.arwctl.conftest import EVIL, Arwctl


def runtime(number: int, node: str = "", replicas: int = 1) -> runtime_pb2.Runtime:
    id_ = "chat" if number == 1 else f"chat.{number}"
    made = runtime_pb2.Runtime(name=f"runtimes/{id_}", id=id_, desired_state=runtime_pb2.DESIRED_STATE_RUNNING)
    made.spec.CopyFrom(runtime_pb2.RuntimeSpec(adapter="llama.cpp", model="models/tiny", replicas=replicas))
    made.replica_of = "runtimes/chat" if number > 1 else ""
    if node:
        made.node = f"nodes/{node}"
        ready = instance_pb2.Instance(state=instance_pb2.INSTANCE_STATE_READY, state_label="Ready", summary="Ready")
        made.instance.CopyFrom(ready)
    else:
        made.placement_problem.text = f"Node n1 has a replica of chat already: chat{EVIL}."
    return made


@pytest.fixture
def context(state: Path, api: OperatorApi) -> tuple[str, Path]:
    api.runtimes += [runtime(1, "n1", replicas=3), runtime(2, "n2"), runtime(3)]
    return "--context", state / "context.json"


async def test_scaling_says_who_belongs_to_the_set_and_how_many_serve(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    said = await run("runtime", "scale", "chat", "3", *context)
    assert (said.code, said.out) == (0, "chat: chat, chat.2, chat.3; 2/3 ready\n")
    assert (api.calls[0].name, api.calls[0].replicas) == ("runtimes/chat", 3)
    said = await run("runtime", "scale", "chat", "1", "-o", "json", *context)
    assert json.loads(said.out)["spec"]["replicas"] == 1


async def test_scaling_waits_for_all_that_are_to_run(run: Arwctl, context: tuple[str, Path], api: OperatorApi) -> None:
    api.runtimes[2].CopyFrom(runtime(3, "n3"))
    api.watched = [runtime_service_pb2.WatchRuntimesResponse(runtime=each) for each in api.runtimes]
    said = await run("runtime", "scale", "chat", "3", "--wait", *context)
    assert said.code == 0
    assert said.err.splitlines()[-1] == "chat: 3 ready"


@pytest.mark.parametrize("words", [("chat",), ("chat", "many"), ("chat", "1.5"), ("chat", "2", "--timeout", "soon")])
async def test_what_is_no_order_to_scale_is_wrong_usage(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi, words: tuple[str, ...]
) -> None:
    assert (await run("runtime", "scale", *words, *context)).code == 2
    assert api.calls == []


async def test_lists_say_whose_replica_each_is(run: Arwctl, context: tuple[str, Path]) -> None:
    said = await run("runtime", "list", *context)
    assert "2/3 ready" in said.out
    assert said.out.count("of chat") == 2


async def test_one_is_shown_with_how_many_of_its_set_serve(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    assert "Replicas:           2/3 ready" in (await run("runtime", "get", "chat", *context)).out
    api.runtimes.reverse()
    assert "Replicas:           of chat" in (await run("runtime", "get", "chat.3", *context)).out


async def test_the_status_and_the_reasons_of_a_replica_name_its_head(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    row = api.supervisor.supervisor.runtimes.add()
    row.descriptor.CopyFrom(runtime_matrix_pb2.RuntimeDescriptor(id="chat.3", replica_of="chat", replicas=1))
    assert "chat.3 (replica of chat)" in (await run("runtime", "status", *context)).out
    api.explanation.runtime.CopyFrom(api.runtimes[2])
    said = await run("runtime", "explain", "chat.3", *context)
    assert said.out.startswith("chat.3 (replica of chat): no place: Node n1 has a replica of chat already")
    assert "\x1b" not in said.out


async def test_a_plan_says_whose_replica_comes_and_a_difference_is_told_of_the_head_alone(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi, tmp_path: Path
) -> None:
    file = tmp_path / "m.toml"
    file.write_text("version = 1\n")
    head = runtime_service_pb2.PlannedRuntime(id="chat", action=runtime_service_pb2.PLANNED_ACTION_CHANGE)
    head.changes.add(key="replicas", old_value="1", new_value="2")
    replica = runtime_service_pb2.PlannedRuntime(
        id="chat.2", action=runtime_service_pb2.PLANNED_ACTION_CREATE, replica_of="runtimes/chat", node="nodes/n2"
    )
    api.plan.runtimes.extend([head, replica])
    planned = await run("runtime", "plan", "-f", file, *context)
    assert "chat.2: create (replica of chat)" in planned.out
    assert "1 to create, 1 to change" in planned.out
    different = await run("runtime", "diff", "-f", file, *context)
    assert "@@ chat @@" in different.out
    assert "chat.2" not in different.out
