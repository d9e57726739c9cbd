from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from node_agent.domain.inventory import Accelerator, DeviceHealth
from node_agent.domain.status import Problem
from node_agent.hardware.joining import joined, troubles
from node_agent.hardware.pci import devices as pci
from node_agent.hardware.report import Report, report_from_json, report_to_json
from tests.fakes.recorded_host import RecordedHost

BROKEN = Problem("ACCELERATOR_DRIVER_MISMATCH", "Versions differ.", "Restart.")
H200 = Accelerator("GPU-1", "gpu_cuda", "H200", 1 << 30, vendor="NVIDIA", pci_address="0000:18:00.0", source="nvml")


@pytest.fixture
def host(tmp_path: Path) -> RecordedHost:
    return RecordedHost(tmp_path)


def on_bus(host: RecordedHost) -> Report:
    return Report("pci", tuple(pci.probe(host)))


def a_card(host: RecordedHost, driver: str = "nvidia", address: str = "0000:18:00.0") -> None:
    host.pci(address, "10de", "2335", "030200", driver)


def test_only_what_computes_is_taken_from_the_bus(host: RecordedHost) -> None:
    host.pci("0000:00:01.0", "8086", "1234", "060400", "pcieport")
    host.pci("0000:00:02.0", "1a03", "2000", "030000", "ast")
    host.pci("0000:00:03.0", "10de", "10fa", "040300", "snd_hda_intel")
    a_card(host)
    host.pci("0000:00:0b.0", "8086", "7d1d", "120000", "intel_vpu")
    host.pci("0000:c5:00.1", "1022", "1502", "118000", "amdxdna")
    host.pci("0000:d5:00.0", "1e60", "2864", "120000", "hailo")
    assert [(device.id, device.kind) for device in pci.probe(host)] == [
        ("0000:00:0b.0", "npu_other"),
        ("0000:18:00.0", "gpu_cuda"),
        ("0000:c5:00.1", "npu_other"),
        ("0000:d5:00.0", "npu_other"),
    ]


@pytest.mark.parametrize(
    ("driver", "reason", "word"),
    [
        ("", "ACCELERATOR_DRIVER_MISSING", "no driver is loaded"),
        ("nouveau", "ACCELERATOR_DRIVER_MISSING", "nouveau"),
        ("vfio-pci", "ACCELERATOR_RESERVED", "virtual machine"),
    ],
)
def test_a_card_without_a_driver_that_computes_says_so_and_what_to_do(
    host: RecordedHost, driver: str, reason: str, word: str
) -> None:
    a_card(host, driver)
    (device,) = joined([on_bus(host)])
    assert (device.id, device.health) == ("0000:18:00.0", DeviceHealth.UNUSABLE)
    assert device.problem is not None
    assert (device.problem.reason, word in device.problem.text) == (reason, True)
    assert device.problem.remedy


def test_a_card_is_called_as_the_list_of_pci_ids_calls_it(host: RecordedHost) -> None:
    host.file(
        "usr/share/misc/pci.ids",
        "# a comment\n1002  Advanced Micro Devices\n\t2335  Wrong vendor\n10de  NVIDIA Corporation\n"
        "\t2334  Other\n\t2335  GH100 [H200 SXM 141GB]\n\t\t10de 1  Subsystem\n8086  Intel\n",
    )
    a_card(host, "")
    (device,) = joined([on_bus(host)])
    assert device.display_name == "NVIDIA Corporation GH100 [H200 SXM 141GB]"


def test_what_the_driver_reports_takes_the_place_of_what_the_bus_shows(host: RecordedHost) -> None:
    a_card(host)
    (device,) = joined([on_bus(host), Report("nvidia", (H200,))])
    assert (device.id, device.display_name, device.source, device.problem) == ("GPU-1", "H200", "nvml", None)
    assert device.details["kernel_driver"] == "nvidia"


def test_a_driver_that_fails_is_the_devices_problem(host: RecordedHost) -> None:
    a_card(host)
    reports = [on_bus(host), Report("nvidia", problem=BROKEN)]
    (device,) = joined(reports)
    assert (device.health, device.problem) == (DeviceHealth.UNUSABLE, BROKEN)
    assert troubles(reports) == ()


def test_a_driver_that_fails_without_a_device_is_told_apart() -> None:
    assert troubles([Report("pci"), Report("nvidia", problem=BROKEN)]) == (BROKEN,)
    assert troubles([Report("pci"), Report("nvidia", problem=BROKEN, quiet=True)]) == ()


def test_a_driver_that_answers_and_leaves_a_card_out_is_the_cards_problem(host: RecordedHost) -> None:
    a_card(host)
    a_card(host, address="0000:19:00.0")
    first, second = joined([on_bus(host), Report("nvidia", (H200,))])
    assert (first.problem, second.id) == (None, "0000:19:00.0")
    assert second.problem is not None
    assert second.problem.reason == "ACCELERATOR_DRIVER_UNRESPONSIVE"


def test_a_device_keeps_its_id_and_name_when_its_driver_stops_answering(host: RecordedHost) -> None:
    a_card(host)
    before = joined([on_bus(host), Report("nvidia", (H200,))])
    (device,) = joined([on_bus(host), Report("nvidia", problem=BROKEN)], before)
    assert (device.id, device.display_name) == ("GPU-1", "H200")
    assert (device.health, device.problem) == (DeviceHealth.UNUSABLE, BROKEN)


def test_a_lost_device_that_the_bus_no_longer_shows_does_not_vanish_without_a_word() -> None:
    other = replace(H200, id="GPU-2", pci_address="0000:19:00.0")
    kept, lost = joined([Report("pci"), Report("nvidia", (H200,), BROKEN)], (H200, other))
    assert (kept, lost.id, lost.problem) == (H200, "GPU-2", BROKEN)
    assert joined([Report("pci"), Report("nvidia", (H200,))], (H200, other)) == (H200,)


def test_the_native_driver_counts_before_vulkan_for_the_same_card(host: RecordedHost) -> None:
    a_card(host)
    by_vulkan = Accelerator("vulkan-x", "gpu_vulkan", "H200", source="vulkaninfo", details={"pci_id": "10de:2335"})
    (device,) = joined(
        [on_bus(host), Report("nvidia", (replace(H200, display_name=""),)), Report("vulkan", (by_vulkan,))]
    )
    assert (device.kind, device.source, device.display_name) == ("gpu_cuda", "nvml", "H200")


def test_a_card_that_only_vulkan_knows_is_used_by_vulkan_at_its_place(host: RecordedHost) -> None:
    a_card(host, "nouveau")
    by_vulkan = Accelerator("vulkan-x", "gpu_vulkan", "H200", source="vulkaninfo", details={"pci_id": "10de:2335"})
    (device,) = joined([on_bus(host), Report("vulkan", (by_vulkan,))])
    assert (device.kind, device.id, device.problem) == ("gpu_vulkan", "0000:18:00.0", None)


def test_a_report_survives_its_line() -> None:
    device = replace(H200, health=DeviceHealth.DEGRADED, problem=BROKEN, details={"a": "b"})
    report = Report("nvidia", (device,), BROKEN, quiet=True)
    assert report_from_json(report_to_json(report)) == report
