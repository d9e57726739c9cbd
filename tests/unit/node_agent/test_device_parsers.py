from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node_agent.domain.inventory import Accelerator, DeviceHealth, DeviceProcess
from node_agent.hardware import intel, npu, vulkan, windows
from node_agent.hardware.amd import library as amd_library
from node_agent.hardware.amd import probe as amd
from node_agent.hardware.amd import rocm_smi
from node_agent.hardware.amd import smi as amd_smi
from node_agent.hardware.amd import sysfs as amd_sysfs
from node_agent.hardware.apple import probe as apple
from node_agent.hardware.apple import usage as apple_usage
from node_agent.hardware.host import ToolFailedError
from node_agent.hardware.nvidia import smi as nvidia_smi
from node_agent.hardware.nvidia import tegra
from node_agent.hardware.report import ProbeFailedError
from tests.fakes import recorded_tools as said
from tests.fakes.recorded_host import RecordedHost

GIB = 1 << 30
MIB = 1 << 20


@pytest.fixture
def host(tmp_path: Path) -> RecordedHost:
    return RecordedHost(tmp_path).has(proc__meminfo="MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n")


def only(devices: list[Accelerator]) -> Accelerator:
    (device,) = devices
    return device


def test_nvidia_smi_stands_in_for_nvml(host: RecordedHost) -> None:
    host.answers["nvidia-smi"] = said.NVIDIA_SMI
    card, spark = nvidia_smi.probe(host)
    assert (card.id[-1], card.pci_address, card.memory_bytes) == ("1", "0000:01:00.0", 24564 * MIB)
    assert card.details == {"compute_capability": "8.9"}
    assert (spark.pci_address, spark.unified_memory, spark.memory_bytes) == ("000f:01:00.0", True, 16 * GIB)


def test_an_older_nvidia_smi_is_asked_for_less(host: RecordedHost) -> None:
    older = said.NVIDIA_SMI.splitlines()[0].rpartition(",")[0]
    host.answers = {
        "nvidia-smi --query-gpu=uuid,name,pci.bus_id,memory.total,driver_version,compute_cap,mig.mode.current,addr": (
            ToolFailedError("nvidia-smi ended with status 2")
        ),
        "nvidia-smi": older,
    }
    assert only(nvidia_smi.probe(host)).memory_bytes == 24564 * MIB


def test_nvidia_smi_is_left_alone_where_nvml_answered(host: RecordedHost) -> None:
    assert nvidia_smi.probe(host, [Accelerator("GPU-1", "gpu_cuda", source="nvml")]) == []
    assert host.asked == []


def test_a_jetson_has_a_gpu_without_memory_or_address_of_its_own(host: RecordedHost) -> None:
    assert tegra.probe(host) == []
    host.has(etc__nv_tegra_release="# R36 (release), REVISION: 4.3, GCID: 1\n")
    device = only(tegra.probe(host))
    assert (device.unified_memory, device.memory_bytes, device.details["jetpack_version"]) == (True, 16 * GIB, "6")


def a_radeon(host: RecordedHost, address: str = "0000:03:00.0", **files: str) -> None:
    host.card(
        0,
        address,
        "amdgpu",
        vendor="0x1002",
        device="0x744c",
        mem_info_vram_total=str(24 * GIB),
        mem_info_vram_used=str(GIB),
        mem_info_vram_vendor="samsung",
        gpu_busy_percent="33",
        mem_busy_percent="5",
        hwmon__hwmon3__temp1_input="51000",
        hwmon__hwmon3__temp1_label="edge",
        hwmon__hwmon3__temp2_input="62000",
        hwmon__hwmon3__temp2_label="junction",
        hwmon__hwmon3__power1_average="123000000",
        hwmon__hwmon3__power1_cap="339000000",
        **files,
    )


def test_the_kernel_alone_tells_of_an_amd_gpu(host: RecordedHost) -> None:
    a_radeon(host)
    host.file("sys/class/drm/card0-DP-1/status", "connected")
    host.file("sys/class/kfd/kfd/topology/nodes/0/properties", "vendor_id 0\nlocation_id 0\n")
    host.file(
        "sys/class/kfd/kfd/topology/nodes/1/properties",
        "vendor_id 4098\ndevice_id 29772\nlocation_id 768\ndomain 0\ngfx_target_version 110000\n",
    )
    host.file("sys/class/kfd/kfd/topology/nodes/1/gpu_id", "51234\n")
    host.file("sys/class/kfd/kfd/proc/4242/vram_51234", "2048\n")
    device = only(amd.probe(host))
    assert (device.id, device.kind, device.memory_bytes) == ("0000:03:00.0", "gpu_rocm", 24 * GIB)
    assert (device.source, device.health) == ("sysfs", DeviceHealth.OK)
    assert device.details["compute_capability"] == "gfx1100"
    (usage,) = amd_sysfs.usages(host)
    assert (usage.memory_used_bytes, usage.utilization_percent, usage.temperature_celsius) == (GIB, 33, 51.0)
    assert (usage.power_milliwatts, usage.power_limit_milliwatts) == (123_000, 339_000)
    assert usage.figures["temperature_junction_celsius"] == 62.0
    assert usage.processes == (DeviceProcess(4242, 2048),)


@pytest.mark.parametrize(("version", "name"), [(110000, "gfx1100"), (90010, "gfx90a"), (100300, "gfx1030")])
def test_a_target_version_is_named_as_compilers_name_it(version: int, name: str) -> None:
    assert amd_sysfs.gfx_name(version) == name


def test_a_gpu_inside_a_processor_has_the_machines_memory(host: RecordedHost) -> None:
    files = {"mem_info_vram_total": str(GIB // 2), "mem_info_gtt_total": str(8 * GIB)}
    host.card(0, "0000:c4:00.0", "amdgpu", vendor="0x1002", device="0x1900", **files)
    device = only(amd.probe(host))
    assert (device.unified_memory, device.memory_bytes) == (True, 16 * GIB)


@pytest.mark.parametrize("listed", [said.AMD_SMI_LIST, said.AMD_SMI_LIST_NEWER])
def test_amd_smi_names_what_the_kernel_found(host: RecordedHost, listed: str) -> None:
    a_radeon(host)
    host.answers = {"amd-smi list": listed, "amd-smi static": said.AMD_SMI_STATIC}
    device = only(amd.probe(host))
    assert (device.display_name, device.driver_version, device.source) == ("Radeon RX 7900 XTX", "6.10.5", "amd-smi")
    assert device.details["compute_units"] == "96"
    assert only(amd_smi.parse(listed, said.AMD_SMI_STATIC)).memory_bytes == 24560 * MIB


def test_rocm_smi_answers_where_amd_smi_does_not(host: RecordedHost) -> None:
    a_radeon(host, "0000:0b:00.0")
    host.answers = {"amd-smi": ToolFailedError("amd-smi ended with status 255"), "rocm-smi": said.ROCM_SMI}
    device = only(amd.probe(host))
    assert (device.display_name, device.driver_version, device.source) == ("Radeon RX 6800", "6.3.6", "rocm-smi")
    assert only(rocm_smi.parse(said.ROCM_SMI)).memory_bytes == 17163091968


@pytest.mark.parametrize("nonsense", ["", "Segmentation fault", "[]", '{"gpu_data": "N/A"}', "[3]", '"x"'])
def test_a_tool_that_talks_nonsense_leaves_the_kernels_word(host: RecordedHost, nonsense: str) -> None:
    a_radeon(host)
    host.answers = {"amd-smi": nonsense, "rocm-smi": nonsense}
    assert only(amd.probe(host)).source == "sysfs"


class FakeAmdsmi:
    """The part of the amdsmi module that is asked; `errors` are statuses by function."""

    class AmdSmiException(Exception): ...  # noqa: N818 - amdsmi's own name

    class AmdSmiLibraryException(AmdSmiException):
        def get_error_code(self) -> int:
            return int(self.args[0])

    def __init__(self, **errors: int) -> None:
        self.errors = errors

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "amdsmi_init": None,
            "amdsmi_shut_down": None,
            "amdsmi_get_processor_handles": ["h0"],
            "amdsmi_get_gpu_device_bdf": "0000:03:00.0",
            "amdsmi_get_gpu_device_uuid": "a3ff744c",
            "amdsmi_get_gpu_asic_info": {"market_name": "AMD Instinct MI300X", "target_graphics_version": "gfx942"},
            "amdsmi_get_gpu_vram_usage": {"vram_total": 196592, "vram_used": 283},
            "amdsmi_get_gpu_driver_info": {"driver_version": "6.8.5"},
            "amdsmi_get_gpu_total_ecc_count": {"correctable_count": 1, "uncorrectable_count": 0},
        }

        def call(*_: object) -> Any:
            if name in self.errors:
                raise self.AmdSmiLibraryException(self.errors[name])
            return answers[name]

        if name not in answers:
            raise AttributeError(name)
        return call


def test_the_amdsmi_library_is_read_field_by_field() -> None:
    device = only(amd_library.probe(FakeAmdsmi(amdsmi_get_gpu_driver_info=amd_library.NOT_SUPPORTED)))
    assert (device.display_name, device.memory_bytes) == ("AMD Instinct MI300X", 196592 * MIB)
    assert (device.driver_version, device.health) == ("", DeviceHealth.OK)


def test_an_amd_driver_that_shuts_us_out_says_what_to_do() -> None:
    device = only(amd_library.probe(FakeAmdsmi(amdsmi_get_gpu_vram_usage=amd_library.NO_PERMISSION)))
    assert device.health is DeviceHealth.UNUSABLE
    assert device.problem is not None
    assert (device.problem.reason, "render" in device.problem.remedy) == ("ACCELERATOR_NO_PERMISSION", True)


def test_an_apple_chip_has_a_gpu_and_a_neural_engine(host: RecordedHost) -> None:
    host.system, host.answers = "darwin", {"system_profiler": said.APPLE_DISPLAYS, **said.APPLE_SYSCTLS}
    host.answers["sysctl -n"] = ToolFailedError("sysctl ended with status 1: unknown oid")
    gpu, engine = apple.probe(host)
    assert (gpu.kind, gpu.display_name, gpu.unified_memory) == ("gpu_metal", "Apple M3 Max", True)
    assert gpu.memory_bytes == 48 * GIB
    assert gpu.details == {"compute_capability": "metal3", "gpu_cores": "40"}
    assert (engine.kind, engine.display_name) == ("npu_coreml", "Apple M3 Max Neural Engine")


def test_a_set_limit_of_metals_memory_counts() -> None:
    assert apple.metal_memory_bytes({"hw.memsize": str(64 * GIB), "iogpu.wired_limit_mb": "1024"}) == GIB
    assert apple.metal_memory_bytes({}) is None


def test_a_mac_with_a_card_has_its_memory_and_no_neural_engine() -> None:
    gpu = only(apple.parse(said.INTEL_MAC_DISPLAYS, {"machdep.cpu.brand_string": "Intel(R) Core(TM) i9"}))
    assert (gpu.memory_bytes, gpu.unified_memory, gpu.vendor) == (8 * GIB, False, "amd")


def test_a_mac_tells_what_its_gpu_does_without_root() -> None:
    (usage,) = apple_usage.parse(said.IOREG.encode(), "mac15,9")
    assert (usage.id, usage.utilization_percent, usage.memory_used_bytes) == ("mac15,9-gpu0", 17, 1234567)
    assert usage.figures == {"renderer_percent": 15.0, "memory_allocated_bytes": 7654321.0}
    assert apple_usage.battery(said.PMSET) == (85.0, True)
    assert apple_usage.battery("Now drawing from 'AC Power'\n") == (None, False)


def test_a_mac_whose_profiler_hangs_says_so(host: RecordedHost) -> None:
    host.system = "darwin"
    host.answers["system_profiler"] = ToolFailedError("system_profiler did not answer within 8 s")
    with pytest.raises(ProbeFailedError) as failed:
        apple.probe(host)
    assert failed.value.problem.reason == "ACCELERATOR_DRIVER_UNRESPONSIVE"


def test_an_intel_gpu_has_its_own_memory_or_the_machines(host: RecordedHost) -> None:
    host.card(0, "0000:00:02.0", "i915", vendor="0x8086", device="0x46a6")
    host.card(
        1,
        "0000:03:00.0",
        "xe",
        vendor="0x8086",
        device="0x56a0",
        tile0__physical_vram_size_bytes=str(16 * GIB),
        hwmon__hwmon1__temp1_input="44000",
        hwmon__hwmon1__temp1_label="pkg",
    )
    inside, card = intel.probe(host)
    assert (inside.unified_memory, inside.memory_bytes) == (True, 16 * GIB)
    assert (card.unified_memory, card.memory_bytes, card.details["pci_id"]) == (False, 16 * GIB, "8086:56a0")
    assert [usage.temperature_celsius for usage in intel.usages(host)] == [None, 44.0]


def test_vulkan_tells_of_devices_and_not_of_software() -> None:
    inside, card = vulkan.parse(said.VULKANINFO)
    assert (inside.display_name, inside.unified_memory) == ("Intel(R) Graphics (ADL GT2)", True)
    assert (card.vendor, card.details["pci_id"], card.driver_version) == ("AMD", "1002:73bf", "Mesa 24.0.5")


def test_vulkan_is_not_asked_where_every_device_works_without_it(host: RecordedHost) -> None:
    on_bus = Accelerator("0000:18:00.0", "gpu_cuda", pci_address="0000:18:00.0")
    native = Accelerator("GPU-1", "gpu_cuda", pci_address="0000:18:00.0", health=DeviceHealth.OK)
    assert vulkan.probe(host, [on_bus, native, Accelerator("0000:00:0b.0", "npu_other")]) == []
    assert host.asked == []
    host.answers["vulkaninfo"] = said.VULKANINFO
    assert len(vulkan.probe(host, [on_bus, native, Accelerator("0000:00:02.0", "gpu_vulkan")])) == 2
    assert len(vulkan.probe(host, [on_bus])) == 2


def test_windows_tells_all_of_a_cards_memory_and_whether_an_npu_works(host: RecordedHost) -> None:
    host.system = "windows"
    host.answers = {
        "powershell -NoProfile -NonInteractive -Command ConvertTo-Json -InputObject @(Get-Item": said.WINDOWS_GPUS,
        "powershell -NoProfile -NonInteractive -Command ConvertTo-Json -InputObject @(Get-Pnp": said.WINDOWS_NPUS,
    }
    radeon, geforce, boost, broken = windows.probe(host)
    assert (radeon.kind, radeon.memory_bytes, radeon.vendor) == ("gpu_vulkan", 25753026560, "AMD")
    assert geforce.kind == "gpu_cuda"
    assert (boost.kind, boost.health) == ("npu_directml", DeviceHealth.OK)
    assert broken.problem is not None
    assert broken.problem.reason == "ACCELERATOR_DRIVER_MISSING"
    known = [Accelerator("GPU-1", "gpu_cuda", vendor="NVIDIA", source="nvml")]
    assert [device.vendor for device in windows.probe(host, known)] == ["AMD", "Intel Corporation", "AMD"]


def test_npus_have_a_class_or_a_node_of_their_own(host: RecordedHost) -> None:
    folder = "sys/class/accel/accel0/device"
    host.file(f"{folder}/vendor", "0x8086")
    host.file(f"{folder}/uevent", "PCI_SLOT_NAME=0000:00:0b.0\n")
    host.link(f"{folder}/driver", "../../bus/pci/drivers/intel_vpu")
    host.has(dev__hailo0="", dev__apex_0="")
    host.file("dev/fastrpc-cdsp", "")
    found = {device.id: device.display_name for device in npu.probe(host)}
    assert found == {
        "0000:00:0b.0": "Intel NPU",
        "fastrpc-cdsp": "Qualcomm Hexagon (HTP)",
        "hailo0": "Hailo",
        "apex_0": "Coral Edge TPU",
    }


def test_an_npus_busy_time_is_a_share_of_the_time_between_two_rounds(host: RecordedHost) -> None:
    folder = "sys/class/accel/accel0/device"
    host.file(f"{folder}/uevent", "PCI_SLOT_NAME=0000:00:0b.0\n")
    host.file(f"{folder}/npu_busy_time_us", "1000000")
    usage = npu.NpuUsage(host)
    assert usage.read(10.0)[0].utilization_percent is None
    host.file(f"{folder}/npu_busy_time_us", "2500000")
    assert usage.read(12.0)[0].utilization_percent == 75.0
