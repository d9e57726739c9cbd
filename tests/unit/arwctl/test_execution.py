from __future__ import annotations

import json
from pathlib import Path

from arw.v1 import execution_pb2, node_pb2, runtime_service_pb2
from arw_client import messages as m
from arwctl.execution import facts
from tests.fakes.operator_api import OperatorApi
from tests.unit.arwctl.conftest import EVIL, Arwctl, runtime

SIGHT = node_pb2.EngineDevices(devices=[node_pb2.EngineDevice(name="CUDA0")])
NATIVE = m.ExecutionOffer(mode=m.ExecutionMode.NATIVE, available=True)
PODMAN = m.ExecutionOffer(mode=m.ExecutionMode.CONTAINER, available=True, detail="podman 4.3.1")
NO_TOOL = m.ExecutionOffer(mode=m.ExecutionMode.CONTAINER, detail="neither podman nor docker is on PATH")
REASON = "the manifest prefers it"


def test_modes_that_are_to_be_had_stand_on_one_line() -> None:
    assert list(facts([NATIVE, PODMAN])) == [("Execution", "native; container (podman 4.3.1)")]


def test_a_mode_that_is_not_to_be_had_says_why() -> None:
    assert list(facts([NATIVE, NO_TOOL])) == [
        ("Execution", "native"),
        ("", "without container: neither podman nor docker is on PATH"),
    ]
    assert next(facts([m.ExecutionOffer(mode=m.ExecutionMode.CONTAINER)])) == ("Execution", "no mode is to be had")


def test_an_agent_that_says_nothing_knows_native_alone() -> None:
    assert list(facts([])) == [("Execution", "native; its agent knows no other mode")]


async def test_a_node_shows_its_modes_and_which_engines_lie_in_images(
    run: Arwctl, state: Path, api: OperatorApi
) -> None:
    inventory = node_pb2.NodeInventory(
        engines=[
            node_pb2.Engine(adapter="llama.cpp", version="b1"),
            node_pb2.Engine(adapter="llama.cpp", version="b2", image="llama:1"),
            node_pb2.Engine(adapter="llama.cpp", version="b3", devices=SIGHT),
            node_pb2.Engine(adapter="llama.cpp", version="b4", devices=node_pb2.EngineDevices()),
        ],
        execution=[execution_pb2.ExecutionOffer(mode=execution_pb2.EXECUTION_MODE_CONTAINER, detail=EVIL)],
    )
    api.nodes = [node_pb2.Node(name="nodes/n1", inventory=inventory)]
    context = ("--context", state / "context.json")
    said = await run("nodes", "show", "n1", *context)
    seen = "llama.cpp b3 (sees CUDA0), llama.cpp b4 (sees the processor alone)"
    assert f"Engines:            llama.cpp b1, llama.cpp b2 (image llama:1), {seen}" in said.out.splitlines()
    assert "without container: " in said.out
    assert "\x1b" not in said.out
    shown = json.loads((await run("nodes", "show", "n1", "-o", "json", *context)).out)["inventory"]
    assert shown["execution"] == [{"mode": "container", "available": False, "detail": EVIL}]
    assert [engine["image"] for engine in shown["engines"]] == ["", "llama:1", "", ""]


async def test_a_runtime_shows_how_it_runs_and_why(run: Arwctl, state: Path, api: OperatorApi) -> None:
    found = runtime()
    found.instance.execution_mode = execution_pb2.EXECUTION_MODE_CONTAINER
    found.instance.execution_reason = REASON
    api.runtimes = [found, runtime()]
    api.explanation = runtime_service_pb2.ExplainRuntimeResponse(runtime=found)
    context = ("--context", state / "context.json")
    head, first, second = (await run("runtime", "list", *context)).out.splitlines()
    column = head.index("MODE ")
    assert (first[column:].split()[0], second[column:].split()[0]) == ("container", "-")
    explained = await run("runtime", "explain", found.id, *context)
    assert f"  mode: container ({REASON})" in explained.out.splitlines()
    for words in (("list",), ("explain", found.id)):
        told = json.loads((await run("runtime", *words, "-o", "json", *context)).out)
        instance = (told[0] if words == ("list",) else told["runtime"])["instance"]
        assert (instance["execution_mode"], instance["execution_reason"]) == ("container", REASON)


async def test_a_runtime_that_was_never_started_is_explained_without_a_mode(
    run: Arwctl, state: Path, api: OperatorApi
) -> None:
    api.explanation = runtime_service_pb2.ExplainRuntimeResponse(runtime=runtime())
    said = await run("runtime", "explain", "x", "--context", state / "context.json")
    assert said.code == 0
    assert "mode:" not in said.out
