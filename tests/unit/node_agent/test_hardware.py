from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from node_agent.domain.inventory import AcceleratorUsage, DeviceHealth, Engine, Inventory
from node_agent.hardware.machine import SECOND_LONG, LocalHardware
from node_agent.hardware.processor.details import processor_details
from node_agent.hardware.processor.probe import available_memory_bytes, read_machine
from node_agent.hardware.processor.usage import ProcessorUsage, battery, temperature
from tests.fakes import fake_driver
from tests.fakes.fake_driver import FakeDriver


def tree(root: Path, **files: str) -> Path:
    """A root with proc and sys as a kernel would show them; "__" stands for "/"."""
    base = {
        "proc__meminfo": "MemTotal:       16000000 kB\n",
        "proc__cpuinfo": "model name\t: Test CPU @ 3 GHz\n",
        "etc__os-release": 'NAME="X"\nPRETTY_NAME="Test Linux 1"\n',
        "proc__self__cgroup": "0::/\n",
    }
    for name, content in {**base, **files}.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_a_machine_without_limits_is_all_ours(tmp_path: Path) -> None:
    machine = read_machine(tree(tmp_path))
    assert machine.memory_bytes == 16_000_000 << 10
    assert machine.cpu_cores == len(os.sched_getaffinity(0))
    assert (machine.os_release, machine.cpu_name, machine.os) == ("Test Linux 1", "Test CPU @ 3 GHz", "linux")


def test_a_v2_group_and_those_above_it_limit_us(tmp_path: Path) -> None:
    root = tree(tmp_path, proc__self__cgroup="0::/a/b\n")
    above = root / "sys/fs/cgroup/a"
    (above / "b").mkdir(parents=True)
    (above / "b/memory.max").write_text("max\n")
    (above / "b/cpu.max").write_text("max 100000\n")
    (above / "memory.max").write_text("1000000\n")
    (above / "cpu.max").write_text("100000 100000\n")
    machine = read_machine(root)
    assert (machine.memory_bytes, machine.cpu_cores) == (1_000_000, 1)


def test_a_v1_group_limits_us(tmp_path: Path) -> None:
    root = tree(tmp_path, proc__self__cgroup="4:memory:/g\n1:cpu:/g\n0::/\n")
    for name, content in {
        "memory/g/memory.limit_in_bytes": "2000000",
        "cpu/g/cpu.cfs_quota_us": "50000",
        "cpu/g/cpu.cfs_period_us": "100000",
    }.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    machine = read_machine(root)
    assert (machine.memory_bytes, machine.cpu_cores) == (2_000_000, 1)


def test_what_may_still_be_taken_is_the_least_that_anyone_leaves(tmp_path: Path) -> None:
    info = "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n"
    root = tree(tmp_path, proc__meminfo=info, proc__self__cgroup="0::/a\n")
    assert available_memory_bytes(root) == 8_000_000 << 10
    group = root / "sys/fs/cgroup/a"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("4000000\n")
    (group / "memory.current").write_text("1000000\n")
    assert available_memory_bytes(root) == 3_000_000


def test_a_machine_that_hides_its_memory_has_an_unknown_amount(tmp_path: Path) -> None:
    usage = ProcessorUsage(tmp_path).read()
    assert usage == AcceleratorUsage("cpu")


def test_busy_time_is_that_between_two_rounds(tmp_path: Path) -> None:
    root = tree(tmp_path, proc__stat="cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 2 3\n")
    usage = ProcessorUsage(root)
    assert usage.read().utilization_percent is None
    tree(tmp_path, proc__stat="cpu  150 0 150 900 0 0 0 0 0 0\n")
    assert usage.read().utilization_percent == 50.0


def test_what_the_processor_can_do_is_told_as_far_as_inference_asks(tmp_path: Path) -> None:
    core = "physical id\t: {}\nsiblings\t: 2\ncore id\t\t: {}\nflags\t\t: fpu vme avx2 avx512_vnni amx_int8 syscall\n\n"
    root = tree(tmp_path, proc__cpuinfo="".join(core.format(*place) for place in ((0, 0), (0, 0), (0, 1), (1, 0))))
    (root / "sys/devices/system/node/node0").mkdir(parents=True)
    assert processor_details(root) == {
        "features": "avx2 avx512_vnni amx_int8",
        "physical_cores": "3",
        "sockets": "2",
        "numa_nodes": "1",
    }


def test_heat_is_that_of_the_processors_own_sensors(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        sys__class__hwmon__hwmon0__name="nvme\n",
        sys__class__hwmon__hwmon0__temp1_input="99000\n",
        sys__class__hwmon__hwmon1__name="k10temp\n",
        sys__class__hwmon__hwmon1__temp1_input="61500\n",
    )
    assert temperature(root) == 61.5
    zone = tree(
        tmp_path / "arm",
        sys__class__thermal__thermal_zone0__type="cpu-thermal\n",
        sys__class__thermal__thermal_zone0__temp="48000\n",
    )
    assert temperature(zone) == 48.0
    assert temperature(tmp_path / "none") is None


def test_a_laptop_tells_its_charge_and_whether_it_lives_on_it(tmp_path: Path) -> None:
    supplies = {
        "sys__class__power_supply__BAT0__type": "Battery\n",
        "sys__class__power_supply__BAT0__capacity": "40\n",
        "sys__class__power_supply__mouse__type": "Battery\n",
        "sys__class__power_supply__mouse__scope": "Device\n",
        "sys__class__power_supply__mouse__capacity": "99\n",
        "sys__class__power_supply__AC__type": "Mains\n",
    }
    root = tree(tmp_path, **supplies, sys__class__power_supply__AC__online="0\n")
    assert battery(root) == (40.0, True)
    assert battery(tree(tmp_path, sys__class__power_supply__AC__online="1\n")) == (40.0, False)
    assert battery(tmp_path / "none") == (None, None)


@contextlib.asynccontextmanager
async def running(engines: Sequence[Engine] = ()) -> AsyncIterator[LocalHardware]:
    hardware = LocalHardware(lambda: engines, SECOND_LONG)
    task = asyncio.create_task(hardware.run())
    try:
        async with asyncio.timeout(30):
            yield hardware
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(known: Callable[[], object]) -> None:
    while not known():  # noqa: ASYNC110 - what is awaited is another process
        await asyncio.sleep(0.02)


def measured(hardware: LocalHardware) -> list[str]:
    usage = hardware.usage()
    return [each.id for each in usage.accelerators] if usage else []


async def test_the_inventory_names_processor_and_trusted_engines() -> None:
    engine = Engine("llama.cpp", ("/x",), (("/x", "00"),))
    async with running((engine,)) as hardware:
        inventory = await hardware.inventory()
    cpu = inventory.accelerators[0]
    assert cpu.id == cpu.kind == "cpu"
    assert inventory.engines == (engine,)
    assert inventory.memory_bytes > 0


async def test_an_engine_that_is_trusted_meanwhile_is_told_at_once() -> None:
    told: asyncio.Queue[Inventory] = asyncio.Queue()
    trusted: list[Engine] = []
    async with running(trusted) as hardware:
        hardware.on_change(told.put_nowait)
        assert (await told.get()).engines == ()
        trusted.append(Engine("process", ("/x",), (("/x", "00"),)))
        assert (await told.get()).engines == tuple(trusted)


async def test_the_processor_tells_what_it_does() -> None:
    async with running() as hardware:
        await until(hardware.usage)
        usage = hardware.usage()
    assert usage is not None
    assert usage.accelerators[0].id == "cpu"
    assert usage.accelerators[0].memory_used_bytes


async def test_a_simulated_gpu_says_so_wherever_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_GPU_SIMULATE", "1")
    async with running() as hardware:
        (device,) = (each for each in (await hardware.inventory()).accelerators if each.simulated)
        await until(lambda: device.id in measured(hardware))
    assert device.simulated
    assert (device.display_name, device.driver_version, device.source) == ("SIMULATED GPU", "simulated", "simulated")
    assert device.id.startswith("simulated")


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    return fake_driver.installed(tmp_path, monkeypatch)


async def test_a_gpu_that_is_lost_is_told_with_its_name_and_what_to_do(driver: FakeDriver) -> None:
    told: asyncio.Queue[Inventory] = asyncio.Queue()
    async with running() as hardware:
        hardware.on_change(told.put_nowait)
        assert [device.health for device in (await told.get()).accelerators[1:]] == [DeviceHealth.OK] * 2
        await until(lambda: len(measured(hardware)) == 3)
        driver.says(lost=1)
        first, second = (await told.get()).accelerators[1:]
        await until(lambda: len(measured(hardware)) == 2)
    assert (first.id, first.problem) == ("GPU-00000000", None)
    assert (second.id, second.display_name, second.health) == (
        "GPU-00000001",
        "NVIDIA Fake H200",
        DeviceHealth.UNUSABLE,
    )
    assert second.problem is not None
    assert second.problem.reason == "ACCELERATOR_LOST"


async def test_an_xid_stays_with_its_gpu_though_the_gpu_looks_well(driver: FakeDriver) -> None:
    told: asyncio.Queue[Inventory] = asyncio.Queue()
    driver.says(gpus=1)
    async with running() as hardware:
        hardware.on_change(told.put_nowait)
        await told.get()
        driver.says(gpus=1, xid=48)
        device = (await told.get()).accelerators[1]
        usage = hardware.usage()
    assert device.health is DeviceHealth.DEGRADED
    assert device.problem is not None
    assert "Xid 48" in device.problem.text
    assert usage is not None
    assert [each.last_xid for each in usage.accelerators] == [None, 48]


async def test_an_application_xid_is_noted_and_speaks_against_nobody(driver: FakeDriver) -> None:
    driver.says(gpus=1, xid=31)
    async with running() as hardware:
        await until(lambda: (usage := hardware.usage()) and usage.accelerators[-1].last_xid == 31)
        assert (await hardware.inventory()).accelerators[1].health is DeviceHealth.OK


async def test_a_driver_that_hangs_does_not_keep_the_node_from_connecting(driver: FakeDriver) -> None:
    driver.says(hang=1)
    async with running() as hardware:
        inventory = await hardware.inventory()
        await until(hardware.usage)
    assert [device.id for device in inventory.accelerators] == ["cpu"]


def test_the_agent_itself_never_loads_the_driver() -> None:
    code = "import sys, node_agent.hardware.machine; sys.exit('pynvml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
