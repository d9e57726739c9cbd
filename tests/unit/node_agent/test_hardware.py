import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from node_agent.domain.inventory import Engine
from node_agent.hardware.machine import LocalHardware
from node_agent.hardware.nvidia import nvidia_gpus
from node_agent.hardware.processor import read_machine

PATIENCE = timedelta(seconds=10)


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


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has an NVIDIA driver")
async def test_no_driver_is_no_gpu_and_no_error() -> None:
    assert await nvidia_gpus(PATIENCE) == ()


async def test_a_driver_that_hangs_costs_its_deadline(tmp_path: Path) -> None:
    probe = tmp_path / "probe.py"
    probe.write_text("import time\ntime.sleep(60)\n")
    assert await nvidia_gpus(timedelta(seconds=0.3), probe) == ()


@pytest.mark.parametrize("body", ["import os; os.abort()", "print('nonsense')", "raise SystemExit(3)"])
async def test_a_driver_that_crashes_takes_only_its_child(tmp_path: Path, body: str) -> None:
    probe = tmp_path / "probe.py"
    probe.write_text(body)
    assert await nvidia_gpus(PATIENCE, probe) == ()


async def test_the_inventory_names_processor_and_trusted_engines() -> None:
    engine = Engine("llama.cpp", ("/x",), (("/x", "00"),))
    inventory = await LocalHardware(lambda: [engine]).inventory()
    assert inventory.accelerators[0].id == inventory.accelerators[0].kind == "cpu"
    assert inventory.engines == (engine,)
    assert inventory.memory_bytes > 0


FAKE_LIBRARY = """
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory;
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { if (i == 1) return 15; *h = (void *)8; return 0; }
int nvmlDeviceGetUUID(void *h, char *s, unsigned n) { strcpy(s, "GPU-made-up"); return 0; }
int nvmlDeviceGetName(void *h, char *s, unsigned n) { strcpy(s, "Made-up GPU"); return 0; }
int nvmlDeviceGetMemoryInfo(void *h, memory *m) { m->total = 1000; m->free = 900; m->used = 100; return 0; }
int nvmlSystemGetDriverVersion(char *s, unsigned n) { strcpy(s, "999.1"); return 0; }
"""


@pytest.fixture
def made_up_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to make a driver library with")
    (tmp_path / "nvml.c").write_text(FAKE_LIBRARY)
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-w", "-shared", "-fPIC", "-o", library, tmp_path / "nvml.c"], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))


@pytest.mark.usefixtures("made_up_driver")
async def test_gpus_are_read_and_one_that_fell_off_the_bus_does_not_hide_the_others() -> None:
    gpus = await nvidia_gpus(PATIENCE)
    assert [(gpu.id, gpu.kind, gpu.memory_bytes, gpu.driver_version) for gpu in gpus] == [
        ("GPU-made-up", "gpu_cuda", 1000, "999.1")
    ]


def test_the_agent_itself_never_loads_the_driver() -> None:
    code = "import sys, node_agent.hardware.machine; sys.exit('pynvml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
