from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from arw.v1 import runtime_matrix_pb2
from control_plane.api.convert_state import grid_to_proto
from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.execution import ExecutionMode
from control_plane.domain.footprint import Footprint, FootprintKey
from control_plane.domain.grid import Cell, Grid, RuntimeTraffic, Sandbox
from control_plane.domain.grid_cells import key_of
from control_plane.domain.ids import ModelId, NodeId
from control_plane.domain.instance import Instance, InstanceHealth, InstanceState
from control_plane.domain.node import Standing
from control_plane.domain.runtime import EXTERNAL
from control_plane.domain.sandbox import SandboxLayer
from control_plane.domain.view import RuntimeView
from control_plane.http.convert_grid import grid_to_json
from control_plane.use_cases.get_grid import GetGrid
from tests.fakes.control_plane import World, a_model, a_node, a_runtime, a_spec, an_instance

WINDOW = timedelta(minutes=5)
FILES, NETWORK = SandboxLayer("landlock-files", True), SandboxLayer("landlock-network", True)


@dataclass
class Metered:
    """Fills the port InstanceTraffic."""

    told: dict[str, RuntimeTraffic] = field(default_factory=dict)

    def of_instance(self, instance: str) -> RuntimeTraffic:
        return self.told.get(instance, RuntimeTraffic(0, 0, 0, 0, 0))


def speed(tokens_per_second: float | None) -> Footprint:
    key = FootprintKey("ab" * 32, "cd" * 32, "", AcceleratorKind.CPU)
    return Footprint(key, 1, generated_tokens_per_second=tokens_per_second)


def running(name: str, node: str = "n1", state: InstanceState = InstanceState.READY, **changed: Any) -> Instance:
    said: dict[str, Any] = {
        "accelerator": AcceleratorKind.CPU,
        "execution_mode": ExecutionMode.NATIVE,
        "sandbox": (FILES,),
        **changed,
    }
    return an_instance(name, node, state, **said)


@pytest.fixture
def meter() -> Metered:
    return Metered()


async def grid_of(world: World, meter: Metered) -> Grid:
    return await GetGrid(world.mirror, world.fleet, world.clock, meter, WINDOW, timedelta(seconds=10))()


async def cell_of(world: World, meter: Metered) -> Cell:
    (cell,) = (await grid_of(world, meter)).cells
    return cell


async def test_every_combination_in_use_is_one_cell_and_what_has_no_place_is_in_none(
    world: World, meter: Metered
) -> None:
    await world.has(a_node("n1"), a_node("n2"), a_node("gone", standing=Standing.REVOKED), a_model(), a_model("big"))
    big = a_spec(model=ModelId("big"), accelerator=AcceleratorKind.GPU_CUDA)
    await world.has(
        a_runtime("a", "n1"), a_runtime("b", "n1"), a_runtime("c", "n2"), a_runtime("d", "gone"), a_runtime("nowhere")
    )
    await world.has(a_runtime("e", "n1", big))
    for node in ("n1", "n2"):
        world.fleet.connect(node)
    for instance in (running("a"), running("b", sandbox=(FILES, NETWORK)), running("c", "n2", sandbox=())):
        world.fleet.record(instance)
    grid = await grid_of(world, meter)
    assert [(*_axes(cell), cell.runtimes) for cell in grid.cells] == [
        ("big", "n1", "gpu_cuda", "unknown", ("e",)),
        ("tiny", "n1", "cpu", "native", ("a", "b")),
        ("tiny", "n2", "cpu", "none", ("c",)),
    ]
    assert grid.cells[1].layers == ("landlock-files",)
    assert {label: figures.runtimes for label, figures in grid.by_accelerator.items()} == {"CPU": 3, "GPU (CUDA)": 1}
    assert (grid.ttl_seconds, grid.window) == (60, WINDOW)


async def test_a_cell_adds_up_load_and_tokens_and_averages_what_was_learnt(world: World, meter: Metered) -> None:
    await world.has(a_node(), a_runtime("a", "n1"), a_runtime("b", "n1"))
    world.fleet.connect("n1")
    world.fleet.record(running("a", health=InstanceHealth(inflight_requests=1, slots=4), footprint=speed(100.0)))
    world.fleet.record(running("b", health=InstanceHealth(inflight_requests=2, slots=4), footprint=speed(50.0)))
    meter.told = {
        "nodes/n1/instances/a": RuntimeTraffic(3, 1, 0, 10, 200),
        "nodes/n1/instances/b": RuntimeTraffic(1, 0, 1, 5, 100),
    }
    cell = await cell_of(world, meter)
    told = cell.figures
    assert (told.runtimes, told.inflight_requests, told.slots) == (2, 3, 8)
    assert (told.hits, told.errors, told.engine_errors, told.prompt_tokens, told.completion_tokens) == (
        4,
        1,
        1,
        15,
        300,
    )
    assert (told.served_tokens_per_second, told.generated_tokens_per_second) == (1.0, 75.0)
    assert cell.label == "Ready - CPU"
    assert cell.aria_hint == "tiny on n1, Native sandbox: Ready - CPU, grade A, 3 of 8 slots busy"


async def test_what_nobody_says_is_absent_and_never_zero(world: World, meter: Metered) -> None:
    await world.has(a_node(), a_runtime("a", "n1"))
    world.fleet.connect("n1")
    world.fleet.record(running("a", health=InstanceHealth(), footprint=speed(None)))
    told = (await cell_of(world, meter)).figures
    assert (told.inflight_requests, told.slots, told.generated_tokens_per_second) == (None, None, None)
    plain = grid_to_proto(await grid_of(world, meter)).cells[0].figures
    assert not plain.HasField("slots")
    assert not plain.HasField("generated_tokens_per_second")


async def test_the_load_of_an_engine_that_stopped_is_not_told_any_more(world: World, meter: Metered) -> None:
    await world.has(a_node(), a_runtime("a", "n1"))
    world.fleet.connect("n1")
    world.fleet.record(running("a", "n1", InstanceState.ERROR, health=InstanceHealth(inflight_requests=3, slots=4)))
    cell = await cell_of(world, meter)
    assert (cell.figures.slots, cell.grade, cell.severity, cell.states) == (None, "F", "error", {"error": 1})


async def test_the_worst_of_a_cell_names_it(world: World, meter: Metered) -> None:
    await world.has(a_node(), a_runtime("a", "n1"), a_runtime("b", "n1"))
    world.fleet.connect("n1")
    world.fleet.record(running("a"))
    world.fleet.record(running("b", state=InstanceState.DEGRADED, accelerator_label="CPU fallback"))
    cell = await cell_of(world, meter)
    assert (cell.label, cell.grade, cell.severity) == ("Degraded - CPU fallback", "C", "warn")
    assert cell.states == {"ready": 1, "degraded": 1}


@pytest.mark.parametrize(
    ("changed", "adapter", "kind"),
    [
        ({"execution_mode": ExecutionMode.CONTAINER, "sandbox": ()}, "llama.cpp", Sandbox.CONTAINER),
        ({}, "llama.cpp", Sandbox.NATIVE),
        ({"sandbox": (replace(FILES, in_force=False),)}, "llama.cpp", Sandbox.NONE),
        ({"execution_mode": ExecutionMode.UNSPECIFIED}, "llama.cpp", Sandbox.UNKNOWN),
        ({"execution_mode": ExecutionMode.UNSPECIFIED}, EXTERNAL, Sandbox.ATTACHED),
    ],
)
async def test_how_an_engine_is_held_is_one_of_five_kinds(
    world: World, meter: Metered, changed: dict[str, Any], adapter: str, kind: Sandbox
) -> None:
    await world.has(a_node(), a_runtime("a", "n1", a_spec(adapter=adapter)))
    world.fleet.connect("n1")
    world.fleet.record(running("a", **changed))
    assert (await cell_of(world, meter)).key.sandbox is kind


async def test_both_edges_tell_the_same_grid(world: World, meter: Metered) -> None:
    await world.has(a_node(), a_runtime("a", "n1"))
    world.fleet.connect("n1")
    world.fleet.record(running("a", health=InstanceHealth(inflight_requests=0, slots=2), footprint=speed(40.0)))
    grid = await grid_of(world, meter)
    (json,), (proto,) = grid_to_json(grid).cells, grid_to_proto(grid).cells
    for name in (
        "model",
        "node",
        "accelerator_label",
        "sandbox",
        "sandbox_label",
        "health_grade",
        "label",
        "aria_hint",
    ):
        assert getattr(json, name) == getattr(proto, name), name
    names = [each.name for each in runtime_matrix_pb2.RuntimeGridFigures.DESCRIPTOR.fields]
    assert sorted(names) == sorted(json.figures.__struct_fields__)
    assert [getattr(json.figures, name) or 0 for name in names] == [getattr(proto.figures, name) for name in names]


def _axes(cell: Cell) -> tuple[str, NodeId, str, str]:
    return cell.key.model, cell.key.node, cell.key.accelerator, cell.key.sandbox


def test_a_cell_is_of_the_accelerator_that_was_asked_for_until_another_is_used() -> None:
    spec = a_spec(accelerator=AcceleratorKind.GPU_CUDA)
    view = RuntimeView(a_runtime("a", "n1", spec), an_instance("a"))
    assert key_of(view, NodeId("n1")).accelerator is AcceleratorKind.GPU_CUDA
