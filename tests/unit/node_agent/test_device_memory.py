"""Memory of devices that engines held, and whether it came back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta

import pytest

from node_agent.domain.device_limits import fence_for
from node_agent.domain.device_memory import grips, kept, returned
from node_agent.domain.errors import AcceleratorLeaking
from node_agent.domain.inventory import Accelerator, Inventory, NodeUsage
from node_agent.domain.limits import Limits
from node_agent.runtimes.leaks import LeakTimers, LeakWatch
from tests.fakes.instance_specs import NAME, spec
from tests.fakes.leaky_hardware import GIB, GPU, LeakyHardware, usage

OURS = {7}.__contains__
QUICK = LeakTimers(timedelta(seconds=0.05), timedelta(seconds=0.01))


def kept_gib(before: NodeUsage, after: NodeUsage | None) -> float | None:
    left = kept(grips(before, OURS)[GPU], after, GPU)
    return None if left is None else left / GIB


def test_what_is_free_again_was_given_back() -> None:
    assert kept_gib(usage(5, p7=4), usage(1)) == 0


def test_what_stays_in_use_though_nobody_holds_it_was_not() -> None:
    assert kept_gib(usage(5, p7=4), usage(5)) == 4
    assert kept_gib(usage(5, p7=4), usage(5, p7=4)) == 4, "the driver still counts it for a process that is gone"


def test_what_another_engine_took_meanwhile_is_its_own() -> None:
    assert kept_gib(usage(5, p7=4), usage(9, p8=8)) == 0
    assert kept_gib(usage(5, p7=4, p8=1), usage(4, p9=4)) == 0


def test_a_device_that_does_not_say_leaves_nothing_to_claim() -> None:
    assert kept_gib(usage(5, p7=4), None) is None
    assert kept_gib(usage(5, p7=4), usage(None)) is None
    assert not grips(usage(None, p7=4), OURS)
    assert not grips(None, OURS)
    assert not grips(usage(5, p8=4), OURS)


@pytest.mark.parametrize(("left_gib", "back"), [(0.1, True), (1.9, True), (2.1, False), (4, False)])
def test_half_of_it_must_be_back_for_a_device_to_be_used_again(left_gib: float, back: bool) -> None:
    assert returned(grips(usage(5, p7=4), OURS)[GPU], int(left_gib * GIB)) is back


@pytest.fixture
async def hardware() -> LeakyHardware:
    return LeakyHardware(usage(5, p7=4))


@pytest.fixture
async def watch(hardware: LeakyHardware) -> AsyncIterator[LeakWatch]:
    made = LeakWatch(hardware, QUICK)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def until_leaks(watch: LeakWatch, *devices: str) -> None:
    async with asyncio.timeout(5):
        while set(watch.leaks()) != set(devices):  # noqa: ASYNC110 - the watch works by the clock
            await asyncio.sleep(0.01)


async def test_a_device_that_keeps_the_memory_is_unusable_until_it_comes_back(
    hardware: LeakyHardware, watch: LeakWatch
) -> None:
    told: list[Inventory] = []
    watch.on_change(told.append)
    await watch.inventory()
    watch.look(NAME, OURS)
    hardware.now = usage(5)
    watch.ended(NAME)
    await until_leaks(watch, GPU)
    (_, gpu) = await watch.devices()
    assert (gpu.health, gpu.problem and gpu.problem.reason) == ("unusable", "ACCELERATOR_LEAKING")
    assert gpu.problem is not None
    assert gpu.problem.text == f"4096 MiB of an engine that ended were not given back: of {NAME}."
    hardware.now = None
    await asyncio.sleep(0.05)
    assert watch.leaks(), "silence of the driver is no word that the memory is back"
    hardware.now = usage(1)
    await until_leaks(watch)
    assert [inventory.accelerators[1].health for inventory in told] == ["unusable", "ok"]


async def test_a_device_without_figures_is_never_blamed(hardware: LeakyHardware, watch: LeakWatch) -> None:
    watch.look(NAME, OURS)
    hardware.now = None
    watch.ended(NAME)
    await asyncio.sleep(0.2)
    assert not watch.leaks()
    hardware.now = usage(5)
    await asyncio.sleep(0.05)
    assert not watch.leaks()


async def test_a_leaking_device_gets_no_new_launch_and_the_others_do(hardware: LeakyHardware, watch: LeakWatch) -> None:
    watch.look(NAME, OURS)
    hardware.now = usage(5)
    watch.ended(NAME)
    await until_leaks(watch, GPU)
    devices = await watch.devices()
    strict = spec(accelerator="gpu_cuda", degrade_on_missing_accelerator=False)
    with pytest.raises(AcceleratorLeaking, match="not given back"):
        fence_for(Limits(), strict, devices)
    other = Accelerator("GPU-2", "gpu_cuda")
    fence = fence_for(Limits(), strict, [*devices, other])
    assert fence.environment is not None
    assert fence.environment["CUDA_VISIBLE_DEVICES"] == "GPU-2"
