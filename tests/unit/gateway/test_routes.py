from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from control_plane.data_path.routes import RouteTable
from control_plane.domain.ids import ModelId, NodeId, ProjectId, RuntimeId
from control_plane.domain.instance import Instance, InstanceState
from control_plane.domain.project import Project
from control_plane.domain.runtime import DesiredState, EngineSettings, Modality, ProcessSettings, Runtime
from control_plane.domain.runtime_set import following, replica_ids
from control_plane.store.memory import MemoryStore
from control_plane.use_cases.mirror import Mirror
from gateway.ports import Task
from gateway.refusals import ModelNotFound, NodeOffline, NoEngine, NotServing, WrongTask
from tests.fakes.clock import NOON, FakeClock
from tests.fakes.fleet import FakeFleet
from tests.fakes.store_rows import a_node, a_runtime

SEES = {"modalities": (Modality.TEXT, Modality.VISION)}
HEARS_TOO = {"modalities": (Modality.TEXT, Modality.AUDIO)}


def declared(name: str, node: str = "box", **spec: object) -> Runtime:
    runtime = a_runtime(name)
    return replace(runtime, node=NodeId(node), fence=7, spec=replace(runtime.spec, **spec))  # type: ignore[arg-type]


def fleet(*serving: str) -> FakeFleet:
    made = FakeFleet()
    made.connect("box")
    for name in serving:
        made.record(Instance(NodeId("box"), RuntimeId(name), InstanceState.READY))
    return made


class Bench:
    """A route table over a store."""

    def __init__(self, known: FakeFleet) -> None:
        self.store = MemoryStore(FakeClock())
        self.mirror = Mirror(self.store)
        self.projects: dict[ProjectId, Project] = {}
        self.table = RouteTable(self.mirror, known, self.projects)

    async def has(self, *runtimes: Runtime) -> None:
        for runtime in runtimes:
            await self.store.write(lambda tx, row=runtime: tx.runtimes.put(row))  # type: ignore[misc]
        await self.mirror.look()

    async def loses(self, name: str) -> None:
        await self.store.write(lambda tx: tx.runtimes.delete(RuntimeId(name)))
        await self.mirror.look()


async def table_of(known: FakeFleet, *runtimes: Runtime) -> RouteTable:
    bench = Bench(known)
    await bench.has(*runtimes)
    return bench.table


async def test_a_route_carries_the_instance_and_the_hold_under_which_it_may_pass() -> None:
    table = await table_of(fleet("a/b"), declared("a/b"))
    route = table.resolve("a/b")
    assert (route.instance, route.node, route.claim, route.fence) == ("nodes/box/instances/a__b", "box", "system", 7)


async def test_an_id_wins_over_a_display_name_and_that_over_a_model() -> None:
    runtimes = declared("one", display_name="two"), declared("two", model=ModelId("three")), declared("three")
    table = await table_of(fleet("one", "two", "three"), *runtimes)
    assert table.resolve("two").model_alias == "two"
    assert table.resolve("three").model_alias == "three"


async def test_runtimes_of_one_model_take_turns_and_those_that_do_not_serve_are_passed_over() -> None:
    table = await table_of(fleet("one", "two"), declared("one"), declared("two"), declared("three"))
    assert {table.resolve("tiny").model_alias for _ in range(6)} == {"one", "two"}
    assert [model.id for model in table.models()] == ["one", "two"]


async def away_from(known: FakeFleet, *runtimes: Runtime) -> RouteTable:
    """On node "box", which was heard at noon."""
    bench = Bench(known)
    await bench.store.write(lambda tx: tx.nodes.put(replace(a_node("box"), last_contact_time=NOON)))
    await bench.has(*runtimes)
    return bench.table


async def test_a_runtime_on_an_offline_node_does_not_serve_and_the_refusal_says_since_when() -> None:
    known = fleet("one")
    table = await away_from(known, declared("one"))
    known.disconnect("box", NOON)
    with pytest.raises(NodeOffline, match="^Node box is offline since 2026-") as raised:
        table.resolve("one")
    assert raised.value.retry_after == 10
    assert "arwctl nodes show box" in raised.value.remedy
    assert raised.value.metadata == {"node": "box"}
    assert table.models() == []


async def test_a_node_that_may_still_come_back_after_a_start_is_waited_for() -> None:
    table = await away_from(FakeFleet(), declared("one"))
    with pytest.raises(NotServing, match="has not come back since the control plane started") as raised:
        table.resolve("one")
    assert (raised.value.reason, raised.value.retry_after) == ("NOT_READY", 2)


async def test_of_runtimes_that_share_a_model_the_one_that_is_about_to_serve_gives_the_reason() -> None:
    known = fleet("one")
    table = await away_from(known, declared("one"), declared("two", "other"))
    known.disconnect("box", NOON)
    known.connect("other", NOON)
    known.record(Instance(NodeId("other"), RuntimeId("two"), InstanceState.STARTING))
    with pytest.raises(NotServing, match="two is starting"):
        table.resolve("tiny")


async def test_a_name_that_is_gone_is_unknown() -> None:
    bench = Bench(fleet("one"))
    await bench.has(declared("one"))
    await bench.loses("one")
    with pytest.raises(ModelNotFound, match="No runtime is declared yet"):
        bench.table.resolve("one")


async def test_a_renamed_runtime_answers_to_its_new_names_alone() -> None:
    bench = Bench(fleet("one"))
    await bench.has(declared("one", display_name="Old", model=ModelId("m1")))
    await bench.has(declared("one", display_name="New", model=ModelId("m2")))
    assert {bench.table.resolve(name).model_alias for name in ("New", "m2", "one")} == {"one"}
    for name in ("Old", "m1", ""):
        with pytest.raises(ModelNotFound):
            bench.table.resolve(name)


async def test_a_runtime_is_asked_only_for_what_it_can_do_and_the_refusal_names_those_that_can() -> None:
    hears = declared("hears", adapter="whisper.cpp", model=ModelId("w"))
    table = await table_of(fleet("hears", "reads"), hears, declared("reads"))
    assert table.resolve("hears", Task.SPEECH).model_alias == "hears"
    with pytest.raises(WrongTask, match="'hears' cannot answer text") as raised:
        table.resolve("hears")
    assert raised.value.remedy == "These can: reads."
    with pytest.raises(WrongTask, match="'reads' cannot transcribe speech") as raised:
        table.resolve("reads", Task.SPEECH)
    assert raised.value.remedy == "These can: hears."


@pytest.mark.parametrize(
    ("adapter", "spec", "able"),
    [
        ("llama.cpp", {}, {Task.TEXT, Task.RESPONSES, Task.MESSAGES, Task.COUNT}),
        ("llama.cpp", SEES, {Task.TEXT, Task.RESPONSES, Task.MESSAGES, Task.COUNT, Task.VISION}),
        ("llama.cpp", {"settings": EngineSettings(embeddings=True, pooling="rank")}, {Task.RERANK}),
        ("llamafile", {}, {Task.TEXT}),
        ("vllm", HEARS_TOO, {Task.TEXT, Task.RESPONSES, Task.RERANK, Task.SPEECH}),
        ("external", {}, {Task.TEXT, Task.RESPONSES, Task.RERANK}),
        ("external", {"modalities": (Modality.AUDIO,)}, {Task.SPEECH}),
        ("whisper.cpp", {}, {Task.SPEECH}),
        ("a-package", {}, {Task.TEXT, Task.RESPONSES, Task.RERANK}),
    ],
)
async def test_what_can_be_asked_of_a_runtime_goes_by_its_adapter_and_what_was_declared(
    adapter: str, spec: dict[str, Any], able: set[Task]
) -> None:
    table = await table_of(fleet("one"), declared("one", adapter=adapter, **spec))
    found = set()
    for task in Task:
        try:
            assert table.resolve("one", task).tasks == able
            found.add(task)
        except WrongTask:
            continue
    assert found == able
    assert table.models()[0].tasks == able


async def test_what_nothing_that_is_declared_does_needs_another_engine_and_not_another_name() -> None:
    table = await table_of(fleet("reads"), declared("reads"))
    with pytest.raises(NoEngine, match="'reads' cannot speak") as raised:
        table.resolve("reads", Task.VOICE)
    assert (raised.value.status, raised.value.remedy) == (501, "No declared runtime can.")


async def test_what_speaks_no_path_of_the_gateway_is_neither_listed_nor_asked() -> None:
    mute = declared("mute", adapter="process", process=ProcessSettings(("/p",)))
    open_ = declared("open", adapter="process", process=ProcessSettings(("/p",), openai=True))
    voice = declared("voice", adapter="piper", modalities=(Modality.AUDIO,))
    table = await table_of(fleet("mute", "open", "voice"), mute, open_, voice)
    assert [model.id for model in table.models()] == ["open"]
    assert table.resolve("open").model_alias == "open"
    for name, task in (("mute", Task.TEXT), ("voice", Task.SPEECH)):
        with pytest.raises(WrongTask):
            table.resolve(name, task)


async def test_of_runtimes_that_share_a_model_those_that_can_are_chosen() -> None:
    both = declared("both", modalities=(Modality.TEXT, Modality.AUDIO))
    table = await table_of(fleet("both", "reads"), both, declared("reads"))
    for _ in range(4):
        heard = table.resolve("tiny", Task.SPEECH)
        assert heard.model_alias == "both"
        table.left(heard)
    assert {table.resolve("tiny").model_alias for _ in range(4)} == {"both", "reads"}


async def a_set(known: FakeFleet, *, replicas: int = 3) -> Bench:
    """`chat` and its replicas, each on a node of its own."""
    head = declared("chat", "n1", replicas=replicas, display_name="Chat")
    rows = [following(head, None, replica, NOON, heed=False) for replica in replica_ids(head.id, replicas)]
    bench = Bench(known)
    await bench.has(head, *(replace(row, node=NodeId(f"n{number}")) for number, row in enumerate(rows, 2)))
    return bench


def fleet_of_set(*serving: int) -> FakeFleet:
    made = FakeFleet()
    for number in (1, 2, 3):
        made.connect(f"n{number}")
    for number in serving:
        name = RuntimeId("chat" if number == 1 else f"chat.{number}")
        made.record(Instance(NodeId(f"n{number}"), name, InstanceState.READY))
    return made


async def test_a_head_stands_for_its_replicas_and_each_has_its_turn() -> None:
    table = (await a_set(fleet_of_set(1, 2, 3))).table
    for name in ("chat", "Chat", "tiny"):
        assert (
            sorted(table.resolve(name).model_alias for _ in range(6)) == ["chat"] * 2 + ["chat.2"] * 2 + ["chat.3"] * 2
        )


async def test_what_failed_a_request_is_not_chosen_for_it_again() -> None:
    table = (await a_set(fleet_of_set(1, 2, 3))).table
    tried: list[str] = []
    for _ in range(3):
        tried.append(table.resolve("chat", avoid=tried).instance)
    assert len(set(tried)) == 3
    with pytest.raises(NotServing, match="serves nowhere else"):
        table.resolve("chat", avoid=tried)


async def test_requests_for_others_put_nobody_out_of_turn() -> None:
    known = fleet_of_set(1, 2)
    known.record(Instance(NodeId("n3"), RuntimeId("other"), InstanceState.READY))
    bench = await a_set(known, replicas=2)
    await bench.has(declared("other", "n3", model=ModelId("elsewhere")))
    seen = [(bench.table.resolve("chat").node, bench.table.resolve("other").node) for _ in range(4)]
    assert [node for node, _ in seen] == ["n1", "n2", "n1", "n2"]


async def test_a_replica_by_its_own_id_is_that_one_alone() -> None:
    table = (await a_set(fleet_of_set(1, 2))).table
    assert {table.resolve("chat.2").node for _ in range(4)} == {"n2"}
    with pytest.raises(NotServing):
        table.resolve("chat.3")


async def test_what_does_not_serve_is_passed_over_and_the_head_is_listed_once_while_any_does() -> None:
    known = fleet_of_set(2, 3)
    table = (await a_set(known)).table
    assert {table.resolve("chat").node for _ in range(4)} == {"n2", "n3"}
    assert [(model.id, model.node) for model in table.models()] == [("chat", "n2")]
    known.disconnect("n2", NOON)
    assert {table.resolve("chat").node for _ in range(4)} == {"n3"}
    known.disconnect("n3", NOON)
    assert table.models() == []


async def test_a_set_that_shrank_sends_nothing_to_what_is_gone() -> None:
    bench = await a_set(fleet_of_set(1, 2, 3))
    await bench.loses("chat.3")
    assert {bench.table.resolve("chat").model_alias for _ in range(6)} == {"chat", "chat.2"}


async def test_a_set_of_which_none_serves_speaks_by_the_one_that_is_nearest_to_it() -> None:
    known = fleet_of_set()
    bench = await a_set(known)
    head = bench.mirror.runtimes[RuntimeId("chat")]
    await bench.has(replace(head, desired_state=DesiredState.STOPPED))
    known.record(Instance(NodeId("n2"), RuntimeId("chat.2"), InstanceState.ERROR))
    known.record(Instance(NodeId("n3"), RuntimeId("chat.3"), InstanceState.STARTING))
    with pytest.raises(NotServing, match="chat.3 is starting"):
        bench.table.resolve("chat")


async def test_a_declared_runtime_that_is_no_replica_is_not_served_under_another_id() -> None:
    bench = Bench(fleet("chat", "chat.2"))
    await bench.has(declared("chat", model=ModelId("a")), declared("chat.2", model=ModelId("b")))
    assert {bench.table.resolve("chat").model_alias for _ in range(4)} == {"chat"}
    with pytest.raises(ModelNotFound, match="There is: chat, chat.2"):
        bench.table.resolve("nobody")


async def test_a_conversation_goes_on_where_it_was_read_and_a_busy_one_is_passed_over() -> None:
    table = await table_of(fleet("one", "two"), declared("one"), declared("two"))
    words = b'{"model": "tiny", "messages": [' + b"x" * 1000
    first = table.resolve("tiny", body=words)
    table.left(first)
    for more in range(1, 4):
        again = table.resolve("tiny", body=words + b"y" * 1000 * more)
        assert again == first
        table.left(again)
    taken = [table.resolve("tiny", body=words) for _ in range(3)]
    assert [route == first for route in taken] == [True, True, False]
