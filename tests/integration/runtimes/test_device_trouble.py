"""An engine whose device fails or is held back: real processes, set figures of devices."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from node_agent.domain.inventory import AcceleratorUsage, DeviceHealth, DeviceProcess, NodeUsage
from node_agent.domain.status import InstanceState, InstanceStatus
from node_agent.hardware import complaints
from node_agent.runtimes.device_troubles import DeviceWatch, TroubleTimers
from node_agent.runtimes.leaks import LeakTimers, LeakWatch
from node_agent.runtimes.supervisor import LocalSupervisor
from tests.fakes.leaky_hardware import GPU, WELL, LeakyHardware
from tests.fakes.local_node import TIMERS, LocalNode, engine_pid, until, until_ready, until_started, until_state

LOST = replace(WELL, health=DeviceHealth.UNUSABLE, problem=complaints.lost("The GPU fell off the bus (Xid 79)."))
AILING = replace(WELL, health=DeviceHealth.DEGRADED, problem=complaints.unhealthy("Rows wait.", "Reset it."))
QUICK = TroubleTimers(timedelta(seconds=0.05), timedelta(seconds=0.4))
SOON = replace(TIMERS, recheck=timedelta(seconds=0.3), good_run=timedelta())


def figures(*reasons: str, pid: int = 1) -> NodeUsage:
    return NodeUsage((AcceleratorUsage(GPU, processes=(DeviceProcess(pid, 1),), throttle_reasons=reasons),))


@pytest.fixture
async def hardware(node: LocalNode) -> LeakyHardware:
    await node.make_engine(devices=["CUDA0"])
    return LeakyHardware()


@asynccontextmanager
async def on_gpu(node: LocalNode, hardware: LeakyHardware, **wanted: Any) -> AsyncIterator[LocalSupervisor]:
    """A supervisor that wants one runtime on the GPU; it looks at the GPU until the block ends."""
    leaks, troubles = LeakWatch(hardware, LeakTimers()), DeviceWatch(hardware, QUICK)
    hardware.becomes(hardware.gpu)
    watching = asyncio.create_task(troubles.run())
    wanted = {"accelerator": "gpu_cuda", **wanted}
    async with node.agent(node.spec(**wanted), timers=SOON, leaks=leaks, troubles=troubles) as supervisor:
        yield supervisor
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


async def until_summary(supervisor: LocalSupervisor, summary: str) -> InstanceStatus:
    return await until(supervisor, lambda one: one.summary == summary)


async def test_an_instance_on_a_lost_gpu_is_degraded_with_the_reason_and_goes_on(
    node: LocalNode, hardware: LeakyHardware
) -> None:
    async with on_gpu(node, hardware) as supervisor:
        first = await until_ready(supervisor)
        assert first.accelerator == "gpu_cuda"
        hardware.becomes(LOST)
        told = await until_summary(supervisor, "Degraded - GPU lost")
        assert (told.state, told.process) == (InstanceState.DEGRADED, first.process)
        assert told.problem is not None
        assert (told.problem.reason, told.problem.metadata["device"]) == ("ACCELERATOR_LOST", GPU)
        assert told.detail[0] == "Fake GPU: The GPU fell off the bus (Xid 79)."
        hardware.becomes(AILING)
        await until_summary(supervisor, "Degraded - GPU unhealthy")
        hardware.becomes(WELL)
        again = await until_ready(supervisor)
        assert (again.problem, again.detail, again.process) == (None, first.detail, first.process)
    assert len(node.starts) == 1


async def test_an_engine_that_ends_on_a_lost_gpu_starts_again_on_the_cpu_where_it_may(
    node: LocalNode, hardware: LeakyHardware
) -> None:
    async with on_gpu(node, hardware) as supervisor:
        first = await until_ready(supervisor)
        node.behave(devices=[])
        hardware.becomes(LOST)
        os.kill(engine_pid(first), signal.SIGKILL)
        second = await until_summary(supervisor, "Degraded - CPU fallback")
        assert (second.incarnation, second.accelerator, second.state) == (2, "cpu", InstanceState.DEGRADED)
        assert second.problem is not None
        assert second.problem.reason == "ACCELERATOR_MISSING"
        assert second.problem.text == "The GPU fell off the bus (Xid 79). It runs on the CPU in place of gpu_cuda."
        assert second.detail[0] == second.problem.text
    async with on_gpu(node, hardware) as supervisor:
        adopted = await until_summary(supervisor, "Degraded - CPU fallback")
        assert (adopted.problem, adopted.process) == (second.problem, second.process)


async def test_what_ran_on_a_lost_gpu_unasked_is_degraded_on_the_cpu_too(
    node: LocalNode, hardware: LeakyHardware
) -> None:
    digest = await asyncio.to_thread(node.digests.sha256, node.model.path)
    wanted = {"accelerator": "", "model": replace(node.model, sha256=digest)}
    async with on_gpu(node, hardware, **wanted) as supervisor:
        first = await until(supervisor, lambda one: one.footprint is not None)
        assert first.accelerator == "gpu_cuda"
        node.behave(devices=[])
        hardware.becomes(LOST)
        os.kill(engine_pid(first), signal.SIGKILL)
        second = await until_summary(supervisor, "Degraded - CPU fallback")
        assert second.problem is not None
        assert second.problem.text == "The GPU fell off the bus (Xid 79). It runs on the CPU in place of gpu_cuda."


async def test_what_never_ran_on_a_lost_gpu_misses_nothing_on_the_cpu(node: LocalNode, hardware: LeakyHardware) -> None:
    await node.make_engine(devices=[])
    hardware.gpu = LOST
    digest = await asyncio.to_thread(node.digests.sha256, node.model.path)
    async with on_gpu(node, hardware, accelerator="", model=replace(node.model, sha256=digest)) as supervisor:
        assert (await until_ready(supervisor)).accelerator == "cpu"


async def test_an_engine_that_ends_on_a_lost_gpu_waits_for_it_where_it_may_not_go_to_the_cpu(
    node: LocalNode, hardware: LeakyHardware
) -> None:
    async with on_gpu(node, hardware, degrade_on_missing_accelerator=False) as supervisor:
        first = await until_ready(supervisor)
        hardware.becomes(LOST)
        await until_summary(supervisor, "Degraded - GPU lost")
        os.kill(engine_pid(first), signal.SIGKILL)
        waiting = await until_state(supervisor, InstanceState.ERROR)
        assert waiting.problem is not None
        assert (waiting.problem.reason, waiting.problem.text) == (
            "ACCELERATOR_LOST",
            LOST.problem and LOST.problem.text,
        )
        hardware.becomes(WELL)
        again = await until_ready(supervisor)
        assert (again.accelerator, again.incarnation) == ("gpu_cuda", 2)
        assert again.budget is not None
        assert again.budget.used == 1, "waiting for the device costs nothing"
    assert {status.accelerator for status in node.history} == {"", "gpu_cuda"}


async def test_heat_that_lasts_degrades_the_instance_until_it_is_over_and_nothing_is_restarted(
    node: LocalNode, hardware: LeakyHardware
) -> None:
    async with on_gpu(node, hardware) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
        for reasons, summary in (
            (["software_thermal"], "Degraded - thermal limit"),
            (["software_power_cap"], "Ready"),
            (["hardware_power_brake", "hardware_slowdown"], "Degraded - power limit"),
            ([], "Ready"),
        ):
            hardware.now = figures(*reasons, pid=pid)
            status = await until_summary(supervisor, summary)
            assert (status.incarnation, engine_pid(status)) == (1, pid)
    assert len(node.starts) == 1


async def test_a_moment_of_heat_is_no_news(node: LocalNode, hardware: LeakyHardware) -> None:
    async with on_gpu(node, hardware) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
        for reasons in (["hardware_thermal"], [], ["hardware_thermal"], []):
            hardware.now = figures(*reasons, pid=pid)
            await asyncio.sleep(0.15)
        assert InstanceState.DEGRADED not in {status.state for status in node.history}


async def test_an_engine_that_the_driver_lists_on_no_gpu_is_not_blamed_among_several(
    node: LocalNode, hardware: LeakyHardware
) -> None:
    other = replace(WELL, id="GPU-2")
    hardware.more = (other,)
    async with on_gpu(node, hardware) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
        hardware.now = figures(pid=pid + 1)
        hardware.becomes(LOST)
        await asyncio.sleep(0.3)
        assert supervisor.statuses()[0].state is InstanceState.READY
        hardware.now = figures(pid=pid)
        await until_summary(supervisor, "Degraded - GPU lost")


async def test_a_driver_that_lists_nobody_any_more_does_not_clear_an_engine_among_several(
    node: LocalNode, hardware: LeakyHardware
) -> None:
    hardware.more = (replace(WELL, id="GPU-2"),)
    async with on_gpu(node, hardware) as supervisor:
        hardware.now = figures("hardware_thermal", pid=engine_pid(await until_ready(supervisor)))
        await until_summary(supervisor, "Degraded - thermal limit")
        hardware.now = NodeUsage((AcceleratorUsage(GPU),))
        await until_summary(supervisor, "Ready")
        hardware.becomes(LOST)
        await until_summary(supervisor, "Degraded - GPU lost")


async def test_an_engine_that_breaks_on_a_gpu_not_yet_known_to_be_lost_has_it_looked_at_soon(
    node: LocalNode, hardware: LeakyHardware
) -> None:
    looks: list[None] = []
    watch = DeviceWatch(hardware, QUICK, lambda: looks.append(None))
    hardware.becomes(WELL)
    async with node.agent(node.spec(accelerator="gpu_cuda"), timers=SOON, troubles=watch) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
        assert not looks
        os.kill(pid, signal.SIGKILL)
        await until_started(node, 2)
        assert len(looks) == 1
