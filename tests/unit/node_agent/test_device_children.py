from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from node_agent.domain.inventory import DeviceHealth, NodeUsage
from node_agent.hardware import child, uevents
from node_agent.hardware.inventory import PROBES
from node_agent.hardware.look import Look
from node_agent.hardware.usage_lines import DeviceEvent
from node_agent.hardware.usage_watch import UsageWatch, sources_of

ON_BUS = (
    '{"probe": "pci", "problem": null, "quiet": false, "accelerators": [{"id": "0000:18:00.0", "kind": "gpu_cuda",'
    ' "display_name": "A card", "memory_bytes": null, "driver_version": "", "simulated": false, "vendor": "NVIDIA",'
    ' "pci_address": "0000:18:00.0", "health": "", "problem": null, "unified_memory": false, "partition_of": "",'
    ' "source": "pci", "details": {}}]}'
)
# Says what the real one says, up to the NVIDIA driver, where it does as its last line tells. When it is started again
# without what it died in, it says nothing more.
PROBE = f"""
import os, sys, time
if "pci" in sys.argv: sys.exit(0)
print("pci", flush=True); print({ON_BUS!r}, flush=True)
print("nvidia", flush=True)
"""


def a_probe(folder: Path, body: str) -> Look:
    script = folder / "probe.py"
    script.write_text(PROBE + body)
    return Look(timedelta(seconds=0.4), [sys.executable, str(script)])


@pytest.mark.parametrize(
    ("body", "how"),
    [
        ("time.sleep(60)", "did not end within 0.4 s"),
        ("os.abort()", "signal 6"),
        ("sys.exit(3)", "status 3"),
        ("print('{nonsense', flush=True)", "makes no sense"),
        ("print('{}', flush=True)", "makes no sense"),
    ],
)
async def test_a_driver_that_hangs_or_crashes_costs_a_deadline_and_is_the_devices_problem(
    tmp_path: Path, body: str, how: str
) -> None:
    async with asyncio.timeout(10):
        (device,) = (await a_probe(tmp_path, body)()).accelerators
    assert (device.id, device.health) == ("0000:18:00.0", DeviceHealth.UNUSABLE)
    assert device.problem is not None
    assert device.problem.reason == "ACCELERATOR_DRIVER_UNRESPONSIVE"
    assert how in device.problem.text


async def test_after_a_driver_that_hangs_the_others_are_asked(tmp_path: Path) -> None:
    rest = tmp_path / "asked"
    look = a_probe(tmp_path, "time.sleep(60)")
    script = tmp_path / "probe.py"
    script.write_text(
        f"import sys\nopen({str(rest)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n" + script.read_text()
    )
    await look()
    assert rest.read_text().splitlines() == ["--skip", "--skip pci nvidia"]


async def test_a_tool_that_hangs_ends_with_the_child_that_runs_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    body = (
        f"import subprocess; open({str(note)!r}, 'w').write(str(subprocess.Popen(['sleep', '60']).pid)); time.sleep(60)"
    )
    await a_probe(tmp_path, body)()
    with contextlib.suppress(psutil.NoSuchProcess):
        await asyncio.to_thread(psutil.Process(int(note.read_text())).wait, 10)


async def test_beside_a_child_that_cannot_be_ended_no_other_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = tmp_path / "starts"
    look = a_probe(tmp_path, f"open({str(starts)!r}, 'a').write('x'); time.sleep(60)")
    stuck: list[Process] = []

    async def survives(process: Process) -> bool:
        stuck.append(process)
        return False

    monkeypatch.setattr(child, "ended", survives)
    known = (await look()).accelerators
    again = await look()
    assert (again.accelerators, starts.read_text()) == (known, "x")
    assert "cannot even be ended" in again.problems[0].text
    monkeypatch.undo()
    assert await child.ended(stuck[0])
    assert (await look()).accelerators[0].id == "0000:18:00.0"
    assert starts.read_text() == "xx"


async def test_the_real_probes_answer_on_this_machine() -> None:
    look = Look()
    looked = await look()
    assert all(device.id for device in looked.accelerators)
    assert look.command[-2:] == ("node_agent.hardware.inventory", "--lines")


def test_what_cannot_hang_is_asked_before_what_can() -> None:
    assert PROBES[0] == "pci"
    assert PROBES.index("nvidia") > PROBES.index("npu")


@contextlib.asynccontextmanager
async def watching(
    folder: Path, body: str, *names: str
) -> AsyncIterator[tuple[UsageWatch, asyncio.Queue[DeviceEvent]]]:
    script = folder / "usage.py"
    script.write_text("import os, sys, time\n" + body)
    events: asyncio.Queue[DeviceEvent] = asyncio.Queue()
    interval, starting = timedelta(milliseconds=50), timedelta(seconds=1)
    watch = UsageWatch(interval, events.put_nowait, starting, [sys.executable, str(script)])
    watch.watch(frozenset({"processor", *names}))
    running = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(15):
            yield watch, events
    finally:
        running.cancel()
        await asyncio.wait({running})


async def told(watch: UsageWatch) -> NodeUsage:
    while (usage := watch.usage()) is None:  # noqa: ASYNC110 - what is awaited is another process
        await asyncio.sleep(0.01)
    return usage


LINE = '{"source": "processor", "usages": [], "battery_percent": 80.0, "on_battery": true}'


async def test_figures_arrive_while_the_child_lives_and_end_with_the_watch(tmp_path: Path) -> None:
    body = f'print({LINE!r}, flush=True); print(\'{{"id": "GPU-1", "xid": 79}}\', flush=True); sys.stdin.read()'
    async with watching(tmp_path, body) as (watch, events):
        assert await told(watch) == NodeUsage((), 80.0, on_battery=True)
        assert await events.get() == DeviceEvent("GPU-1", 79)


async def test_a_child_that_dies_is_started_again_and_the_devices_are_looked_at(tmp_path: Path) -> None:
    body = f"open(sys.argv[0] + '.starts', 'a').write('x'); print({LINE!r}, flush=True)"
    async with watching(tmp_path, body) as (_, events):
        for _ in range(3):
            assert await events.get() == DeviceEvent()
    assert len((tmp_path / "usage.py.starts").read_text()) >= 3


async def test_a_child_that_falls_silent_is_killed_and_its_old_figures_are_told_no_more(tmp_path: Path) -> None:
    body = f"print({LINE!r}, flush=True); open(sys.argv[0] + '.pid', 'w').write(str(os.getpid())); time.sleep(60)"
    async with watching(tmp_path, body) as (watch, events):
        await told(watch)
        assert await events.get() == DeviceEvent()
        assert watch.usage() is None


async def test_other_sources_make_another_child(tmp_path: Path) -> None:
    body = f"print({LINE!r}, flush=True); open(sys.argv[0] + '.' + sys.argv[-1], 'w'); sys.stdin.read()"
    async with watching(tmp_path, body) as (watch, events):
        await told(watch)
        watch.watch(frozenset({"processor", "simulated"}))
        while not (tmp_path / "usage.py.simulated").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        assert events.empty()


def test_each_device_is_read_where_it_was_found() -> None:
    devices = [("nvml", ""), ("sysfs", "xe"), ("pci", "intel_vpu"), ("dev", ""), ("amd-smi", "amdgpu")]
    assert sources_of(devices) == {"processor", "nvidia", "intel", "npu", "amd"}
    assert sources_of([]) == {"processor"}


@pytest.mark.parametrize(
    ("event", "turned"),
    [
        (b"add@/devices/pci0\0ACTION=add\0SUBSYSTEM=pci\0PCI_ID=10DE:2335\0", True),
        (b"add@/module/nvidia\0ACTION=add\0DEVPATH=/module/nvidia\0SUBSYSTEM=module\0", True),
        (b"add@/module/loop\0ACTION=add\0DEVPATH=/module/loop\0SUBSYSTEM=module\0", False),
        (b"change@/devices/x\0ACTION=change\0SUBSYSTEM=block\0", False),
        (b"libudev\0\xfe\xed", False),
    ],
)
def test_the_kernel_tells_of_devices_and_drivers(event: bytes, turned: bool) -> None:
    assert uevents.concerns(event) is turned
