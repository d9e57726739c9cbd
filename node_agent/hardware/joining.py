"""Every device once, from what each probe said: by PCI address or id, the driver's own word before PCI's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from node_agent.domain.inventory import Accelerator, DeviceHealth
from node_agent.domain.status import Problem
from node_agent.hardware import complaints
from node_agent.hardware.report import Report

BUS = "pci"
VENDORS = {"nvidia": "NVIDIA", "nvidia_smi": "NVIDIA", "amd": "AMD", "intel": "Intel"}
"""Whose devices a probe that failed would have told of."""


def joined(reports: Sequence[Report], before: Sequence[Accelerator] = ()) -> tuple[Accelerator, ...]:
    """`reports` in the order of the probes: of two that tell of one device the first counts.

    `before`: what was known earlier; a device that only PCI still shows keeps its id and name.
    """
    on_bus = [device for report in reports if report.probe == BUS for device in report.accelerators]
    told = list(_once(report for report in reports if report.probe != BUS))
    placed, elsewhere = _placed(on_bus, told)
    failures = _failures(reports)
    known = {device.pci_address: device for device in before if device.pci_address and device.source != BUS}
    devices: list[Accelerator] = []
    for device in on_bus:
        if device.pci_address in placed:
            devices.append(_named(placed[device.pci_address], device))
        else:
            devices.append(_remembered(_explained(device, failures), known.get(device.pci_address)))
    devices += elsewhere
    return (*devices, *_missed(before, devices, failures))


def troubles(reports: Sequence[Report]) -> tuple[Problem, ...]:
    """What went wrong that no device can carry."""
    shown = {device.vendor for report in reports if report.probe == BUS for device in report.accelerators}
    return tuple(
        report.problem
        for report in reports
        if report.problem and not report.quiet and VENDORS.get(report.probe) not in shown
    )


def _once(reports: Iterator[Report]) -> Iterator[Accelerator]:
    seen: set[str] = set()
    for report in reports:
        for device in report.accelerators:
            names = {device.id, device.pci_address} - {""}
            if not names & seen:
                seen |= names
                yield device


def _placed(
    on_bus: Sequence[Accelerator], told: Sequence[Accelerator]
) -> tuple[dict[str, Accelerator], list[Accelerator]]:
    """What belongs to a place on the bus, and the rest. A device that only gives its PCI id takes a free place."""
    placed = {device.pci_address: device for device in told if device.pci_address}
    addresses = {device.pci_address for device in on_bus}
    elsewhere = [device for device in told if device.pci_address and device.pci_address not in addresses]
    for device in (device for device in told if not device.pci_address):
        pci_id = device.details.get("pci_id")
        alike = [place for place in on_bus if pci_id and place.details.get("pci_id") == pci_id]
        free = next((place for place in alike if place.pci_address not in placed), None)
        if free is not None:
            placed[free.pci_address] = replace(device, id=free.pci_address, pci_address=free.pci_address)
        elif alike:
            placed[alike[0].pci_address] = _named(placed[alike[0].pci_address], device)
        else:
            elsewhere.append(device)
    return placed, elsewhere


def _missed(
    before: Sequence[Accelerator], now: Sequence[Accelerator], failures: dict[str, Problem]
) -> Iterator[Accelerator]:
    """What was there, is gone, and whose driver failed: a lost GPU does not vanish without a word."""
    here = {device.id for device in now} | {device.pci_address for device in now} - {""}
    for device in before:
        problem = failures.get(device.vendor)
        if problem and device.source != BUS and not {device.id, device.pci_address} & here:
            yield replace(device, health=DeviceHealth.UNUSABLE, problem=problem)


def _named(device: Accelerator, other: Accelerator) -> Accelerator:
    """With what only the other word for it tells."""
    return replace(
        device, display_name=device.display_name or other.display_name, details=other.details | device.details
    )


def _failures(reports: Sequence[Report]) -> dict[str, Problem]:
    """By vendor; the first that failed says why."""
    found: dict[str, Problem] = {}
    for report in reports:
        vendor = VENDORS.get(report.probe)
        if vendor and report.problem:
            found.setdefault(vendor, report.problem)
    return found


def _explained(device: Accelerator, failures: dict[str, Problem]) -> Accelerator:
    """Why no driver told of it. What PCI itself found wrong comes first: then no driver was even bound."""
    if device.problem is not None:
        return device
    problem = failures.get(device.vendor)
    if problem is None and device.health is DeviceHealth.OK:
        return device
    if problem is None:
        problem = complaints.unresponsive(f"the driver of {device.pci_address}", "is loaded and does not tell of it")
    return replace(device, health=DeviceHealth.UNUSABLE, problem=problem)


def _remembered(device: Accelerator, before: Accelerator | None) -> Accelerator:
    if before is None or device.problem is None:
        return device
    return replace(before, health=device.health, problem=device.problem)
