"""Which accelerators sit on PCI, whether or not a driver knows them. Only the kernel's own record is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from node_agent.domain.inventory import Accelerator, DeviceHealth
from node_agent.domain.status import Problem
from node_agent.hardware import complaints
from node_agent.hardware.host import Host, children, target, text
from node_agent.hardware.pci.names import device_name

NVIDIA, AMD, AMD_CPU, INTEL = "10de", "1002", "1022", "8086"
VENDORS = {NVIDIA: "NVIDIA", AMD: "AMD", AMD_CPU: "AMD", INTEL: "Intel", "17cb": "Qualcomm", "19e5": "Huawei"}
DISPLAY, COMPUTE = "03", "12"
XDNA = frozenset({"1502", "17f0"})
"""AMD's NPUs call themselves signal processors."""
KINDS = {NVIDIA: "gpu_cuda", AMD: "gpu_rocm", INTEL: "gpu_vulkan"}
DRIVERS = {
    NVIDIA: frozenset({"nvidia"}),
    AMD: frozenset({"amdgpu"}),
    AMD_CPU: frozenset({"amdxdna"}),
    INTEL: frozenset({"i915", "xe", "intel_vpu"}),
}
PASSED_ON = frozenset({"vfio-pci", "pciback", "pci-stub"})
REMEDIES = {
    NVIDIA: "Install the NVIDIA driver and load it (nvidia-smi shows that it works); this node then finds the device.",
    AMD: "Load the amdgpu kernel module, or install a kernel that has it; this node then finds the device.",
    AMD_CPU: "Install the amdxdna driver; this node then finds the device.",
    INTEL: "Load the i915, xe or intel_vpu kernel module; this node then finds the device.",
}


@dataclass(frozen=True, slots=True)
class PciDevice:
    address: str
    vendor: str
    """Four hexadecimal digits, as `device`."""
    device: str
    class_: str
    """Six hexadecimal digits: class, subclass, interface."""
    driver: str
    """Kernel driver that holds it; empty: none."""

    @property
    def computes(self) -> bool:
        """A graphics card of a known vendor, or a processing accelerator of any."""
        if self.vendor == AMD_CPU:
            return self.device in XDNA
        return self.class_[:2] == COMPUTE or (self.class_[:2] == DISPLAY and self.vendor in VENDORS)


def probe(host: Host, _known: Sequence[Accelerator] = ()) -> list[Accelerator]:
    return [accelerator(device, device_name(host, device.vendor, device.device)) for device in scan(host)]


def scan(host: Host) -> Iterator[PciDevice]:
    for folder in children(host.root / "sys/bus/pci/devices"):
        vendor, device, class_ = (text(folder / name).removeprefix("0x") for name in ("vendor", "device", "class"))
        found = PciDevice(folder.name.lower(), vendor, device, class_, target(folder / "driver"))
        if found.computes:
            yield found


def accelerator(device: PciDevice, name: str = "") -> Accelerator:
    """What PCI alone tells; a driver's own report takes its place."""
    vendor = VENDORS.get(device.vendor, "")
    problem = _problem(device, vendor)
    own = device.driver in DRIVERS.get(device.vendor, frozenset()) and device.vendor != NVIDIA
    return Accelerator(
        id=device.address,
        kind=_kind(device),
        display_name=name or f"{vendor or 'Unknown'} device {device.vendor}:{device.device}",
        vendor=vendor,
        pci_address=device.address,
        health=DeviceHealth.UNUSABLE if problem else DeviceHealth.OK if own else DeviceHealth.UNKNOWN,
        problem=problem,
        source="pci",
        details={"pci_id": f"{device.vendor}:{device.device}", "kernel_driver": device.driver or "none"},
    )


def _kind(device: PciDevice) -> str:
    npu = device.vendor == AMD_CPU or (device.vendor == INTEL and device.class_[:2] == COMPUTE)
    other = "npu_other" if device.class_[:2] == COMPUTE else "other"
    return "npu_other" if npu else KINDS.get(device.vendor, other)


def _problem(device: PciDevice, vendor: str) -> Problem | None:
    what = f"{vendor or 'A'} device {device.vendor}:{device.device} is present at {device.address}"
    if device.driver in PASSED_ON:
        remedy = "End the machine that it is given to, or bind it to its own driver again."
        return complaints.reserved(f"{what}, and {device.driver} holds it for a virtual machine.", remedy)
    remedy = REMEDIES.get(device.vendor, "Install its vendor's driver; this node then finds the device.")
    if not device.driver:
        return complaints.driver_missing(f"{what}, and no driver is loaded for it.", remedy)
    if device.driver == "nouveau":
        return complaints.driver_missing(f"{what}, and nouveau, which holds it, cannot compute.", remedy)
    return None
