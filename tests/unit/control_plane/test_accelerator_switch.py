"""The event that a runtime runs on another device than before: told once, with the reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.ids import NodeId
from control_plane.domain.instance import Instance, InstanceState
from control_plane.domain.problem import Problem
from control_plane.use_cases.observe_instances import Observation, ObserveInstances
from tests.fakes.clock import NOON
from tests.fakes.control_plane import World, a_model, a_node, a_runtime, a_spec, an_instance

STARTING, RESTARTING, ERROR = InstanceState.STARTING, InstanceState.RESTARTING, InstanceState.ERROR
DEGRADED = InstanceState.DEGRADED
LOST = Problem("ACCELERATOR_LOST", "The GPU fell off the bus.")
FALLBACK = Problem("ACCELERATOR_MISSING", "The GPU fell off the bus. It runs on the CPU in place of gpu_cuda.")


@pytest.fixture
async def world() -> World:
    world = World()
    await world.has(a_model(), a_node("n1"), a_runtime(node="n1"))
    world.fleet.connect("n1", NOON)
    return world


async def observe(world: World, *instances: Instance, full: bool = False) -> None:
    use_case = ObserveInstances(world.store, world.fleet, world.clock)
    await use_case(Observation(NodeId("n1"), 1, instances, (), full))


@pytest.mark.parametrize("asked", [AcceleratorKind.GPU_CUDA, AcceleratorKind.UNSPECIFIED])
async def test_a_runtime_whose_gpu_is_lost_switches_to_the_cpu_once_and_says_why(
    world: World, asked: AcceleratorKind
) -> None:
    await world.has(a_runtime(node="n1", spec=a_spec(accelerator=asked)))
    on_gpu = an_instance(accelerator=AcceleratorKind.GPU_CUDA)
    await observe(world, on_gpu, full=True)
    await observe(world, replace(on_gpu, state=DEGRADED, problem=LOST))
    on_cpu = an_instance(state=DEGRADED, accelerator=AcceleratorKind.CPU, problem=FALLBACK, incarnation=2)
    for launch in (2, 3):
        await observe(world, an_instance(state=RESTARTING))
        await observe(world, an_instance(state=STARTING, incarnation=launch))
        await observe(world, replace(on_cpu, incarnation=launch))
    (event,) = await world.events("runtime.accelerator")
    assert (event.payload["previous"], event.payload["accelerator"]) == ("gpu_cuda", "cpu")
    assert (event.payload["reason"], event.payload["summary"]) == (FALLBACK.reason, FALLBACK.text)


async def test_a_runtime_that_waits_for_its_lost_gpu_switches_to_nothing(world: World) -> None:
    await world.has(a_runtime(node="n1", spec=a_spec(accelerator=AcceleratorKind.GPU_CUDA)))
    await observe(world, an_instance(accelerator=AcceleratorKind.GPU_CUDA), full=True)
    await observe(world, an_instance(state=RESTARTING))
    await observe(world, an_instance(state=ERROR, problem=LOST))
    await observe(world, an_instance(state=STARTING, incarnation=2))
    await observe(world, an_instance(accelerator=AcceleratorKind.GPU_CUDA, incarnation=2))
    assert not await world.events("runtime.accelerator")


async def test_a_runtime_that_has_its_gpu_again_is_told_of_in_plain_words(world: World) -> None:
    await observe(world, an_instance(state=DEGRADED, accelerator=AcceleratorKind.CPU, problem=FALLBACK), full=True)
    await observe(world, an_instance(state=STARTING, incarnation=2))
    await observe(world, an_instance(accelerator=AcceleratorKind.GPU_CUDA, incarnation=2))
    (event,) = await world.events("runtime.accelerator")
    assert (event.payload["reason"], event.payload["summary"]) == ("", "It runs on GPU (CUDA) now, and not on CPU.")
