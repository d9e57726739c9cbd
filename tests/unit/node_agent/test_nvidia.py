from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import fake_driver
from tests.fakes.fake_driver import FakeDriver
from tests.fakes.recorded_tools import NVIDIA_SMI

H200 = 150754820096
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    return fake_driver.installed(tmp_path, monkeypatch)


def told(module: str, *arguments: str) -> str:
    """By a child, as the agent asks: this process never loads a driver."""
    command = [sys.executable, "-I", "-m", f"node_agent.hardware.{module}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def inventory() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told("inventory"))
    return found


def devices() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = inventory()["accelerators"]
    return found


def reading() -> dict[str, dict[str, Any]]:
    line = json.loads(told("usage", "--sources", "nvidia", "--once").splitlines()[0])
    return {usage["id"]: usage for usage in line["usages"]}


def test_every_field_that_the_driver_tells_is_there_and_no_other(driver: FakeDriver) -> None:
    first, second = devices()
    assert (first["id"], first["pci_address"], second["pci_address"]) == (
        "GPU-00000000",
        "0000:18:00.0",
        "0000:19:00.0",
    )
    assert (first["display_name"], first["memory_bytes"], first["driver_version"]) == (
        "NVIDIA Fake H200",
        H200,
        "580.95.05",
    )
    details = first["details"]
    assert (details["compute_capability"], details["architecture"], details["cuda_version"]) == (
        "9.0",
        "Hopper",
        "13.1",
    )
    assert (details["pci_id"], details["compute_mode"]) == ("10de:2335", "default")
    assert details["temperature_slowdown_celsius"] == "91"
    assert not {"vbios_version", "board_part_number", "serial"} & details.keys()


def test_usage_is_told_apart_from_inventory_and_joined_by_uuid(driver: FakeDriver) -> None:
    driver.says(throttle=0x44)
    usage = reading()["GPU-00000000"]
    assert (usage["memory_total_bytes"], usage["memory_used_bytes"]) == (H200, 1 << 30)
    assert (usage["utilization_percent"], usage["temperature_celsius"]) == (37.0, 55)
    assert (usage["power_milliwatts"], usage["power_limit_milliwatts"]) == (123456, 700000)
    assert usage["throttle_reasons"] == ["software_power_cap", "hardware_thermal"]
    assert usage["processes"] == [{"pid": 4242, "memory_bytes": 512 << 20}]
    figures = usage["figures"]
    assert (figures["sm_clock_mhz"], figures["energy_millijoules"]) == (1001.0, 99000.0)
    assert (figures["memory_temperature_celsius"], figures["memory_reserved_bytes"]) == (61.0, float(500 << 20))
    assert "encoder_percent" not in figures


@pytest.mark.parametrize(
    ("settings", "health", "reason"),
    [
        ({}, "ok", None),
        ({"error": 999}, "unusable", "ACCELERATOR_UNHEALTHY"),
        ({"error": 16}, "unusable", "ACCELERATOR_RESET_REQUIRED"),
        ({"error": 14}, "degraded", "ACCELERATOR_UNHEALTHY"),
        ({"error": 3}, "ok", None),
        ({"error": 4}, "ok", None),
        ({"recovery": 1}, "unusable", "ACCELERATOR_RESET_REQUIRED"),
        ({"recovery": 2}, "unusable", "ACCELERATOR_LOST"),
        ({"recovery": 4}, "degraded", "ACCELERATOR_UNHEALTHY"),
        ({"ecc": 3}, "degraded", "ACCELERATOR_UNHEALTHY"),
        ({"rows_pending": 1}, "degraded", "ACCELERATOR_UNHEALTHY"),
        ({"rows_failed": 1}, "degraded", "ACCELERATOR_UNHEALTHY"),
        ({"compute_mode": 2}, "unusable", "ACCELERATOR_RESERVED"),
    ],
)
def test_health_fails_closed_and_a_field_that_is_not_there_says_nothing(
    driver: FakeDriver, settings: dict[str, int], health: str, reason: str | None
) -> None:
    driver.says(**settings)
    device = devices()[0]
    assert device["health"] == health
    assert (device["problem"] or {}).get("reason") == reason


def test_unknown_is_not_zero(driver: FakeDriver) -> None:
    driver.says(error=3)
    usage = reading()["GPU-00000000"]
    assert usage["utilization_percent"] is usage["temperature_celsius"] is usage["power_milliwatts"] is None


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (18, "ACCELERATOR_DRIVER_MISMATCH"),
        (17, "ACCELERATOR_NO_PERMISSION"),
        (4, "ACCELERATOR_NO_PERMISSION"),
        (10, "ACCELERATOR_DRIVER_UNRESPONSIVE"),
        (999, "ACCELERATOR_UNHEALTHY"),
    ],
)
def test_a_driver_that_does_not_start_says_why_also_without_a_device(
    driver: FakeDriver, status: int, reason: str
) -> None:
    driver.says(init=status)
    found = inventory()
    assert (found["accelerators"], [problem["reason"] for problem in found["problems"]]) == ([], [reason])


@pytest.mark.parametrize("status", [9, 12])
def test_no_driver_and_no_device_is_nothing_to_speak_of(driver: FakeDriver, status: int) -> None:
    driver.says(init=status)
    assert inventory() == {"accelerators": [], "problems": []}


def test_a_gpu_that_fell_off_the_bus_hides_no_other(driver: FakeDriver) -> None:
    driver.says(lost=1)
    found = inventory()
    assert [device["id"] for device in found["accelerators"]] == ["GPU-00000000"]
    assert found["problems"][0]["reason"] == "ACCELERATOR_LOST"


def test_mig_devices_are_parts_of_their_gpu_with_memory_of_their_own(driver: FakeDriver) -> None:
    driver.says(mig=1, gpus=1)
    whole, *parts = devices()
    assert whole["details"]["mig_mode"] == "on"
    assert [(part["id"], part["partition_of"], part["memory_bytes"]) for part in parts] == [
        ("MIG-00000000", "GPU-00000000", 18 << 30),
        ("MIG-00000001", "GPU-00000000", 18 << 30),
    ]
    assert parts[1]["details"] == {"gpu_instance_id": "8"}


def test_under_mig_the_multiprocessors_tell_how_busy_it_is_from_the_second_round(driver: FakeDriver) -> None:
    driver.says(mig=1, gpus=1)
    command = [sys.executable, "-I", "-m", "node_agent.hardware.usage", "--sources", "nvidia", "--interval", "0.1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        rounds = [json.loads(child.stdout.readline()) for _ in range(2)]
        child.stdin.close()
        child.stdout.read()
    assert [usage["utilization_percent"] for usage in rounds[0]["usages"]] == [None, None, None]
    assert [usage["utilization_percent"] for usage in rounds[1]["usages"]] == [42.0, 42.0, 42.0]


def test_a_gpu_that_shares_the_machines_memory_has_that_much(driver: FakeDriver) -> None:
    driver.says(unified=1)
    device = devices()[0]
    assert device["unified_memory"]
    assert device["memory_bytes"] > 0
    assert reading()["GPU-00000000"]["memory_used_bytes"] is None


def test_an_xid_is_heard_with_the_gpu_that_it_befell(driver: FakeDriver) -> None:
    driver.says(xid=79)
    lines = told("usage", "--sources", "nvidia", "--once").splitlines()
    assert json.loads(lines[1]) == {"id": "GPU-00000000", "xid": 79}


def test_a_gpu_that_is_lost_is_an_event_once(driver: FakeDriver) -> None:
    driver.says(lost=0)
    lines = [json.loads(line) for line in told("usage", "--sources", "nvidia", "--once").splitlines()]
    assert [usage["id"] for usage in lines[0]["usages"]] == ["GPU-00000001"]
    assert lines[1:] == [{"id": "", "xid": None}]


def test_without_nvidia_ml_py_nvidia_smi_is_asked(tmp_path: Path) -> None:
    (tmp_path / "answer").write_text(NVIDIA_SMI)
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\ncat "$(dirname "$0")/answer"\n')
    tool.chmod(0o700)
    bare = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-S", "-m", "node_agent.hardware.inventory"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=bare, cwd=tmp_path).stdout
    found = [device for device in json.loads(said)["accelerators"] if device["source"] == "nvidia-smi"]
    assert [device["display_name"] for device in found] == ["NVIDIA GeForce RTX 4090", "NVIDIA GB10"]
