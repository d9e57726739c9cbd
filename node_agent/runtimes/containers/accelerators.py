"""Flags that pass accelerators to a container, each by its own name: none is passed unasked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from node_agent.domain.inventory import Accelerator, DeviceHealth
from node_agent.runtimes.containers.tool import ContainerTool, ToolKind

ROOT = Path("/")
CDI = ("etc/cdi", "var/run/cdi")
NVIDIA = "nvidia"
NO_CDI = "there is no CDI description of the NVIDIA devices: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
NODES = {
    "gpu_rocm": ("dev/kfd", "dev/dri/renderD*"),
    "gpu_vulkan": ("dev/dri/renderD*",),
    "npu_other": ("dev/accel/accel*",),
}
"""Device files by kind. Those of one card are told by its PCI address where the kernel says so."""


@dataclass(frozen=True, slots=True)
class Passed:
    flags: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()
    """Of the accelerators that the container gets."""
    missing: tuple[str, ...] = ()
    """Why others are not passed."""


def passed(tool: ContainerTool, wanted: str, devices: Iterable[Accelerator], root: Path = ROOT) -> Passed:
    """`wanted`: a kind, or empty for whatever there is. Unusable and simulated devices are left out."""
    if wanted == "cpu":
        return Passed()
    fitting = [each for each in devices if each.kind in (wanted or each.kind) and _is_real(each)]
    cuda = [each for each in fitting if each.kind == "gpu_cuda"]
    flags, missing = _nvidia(tool, cuda, root) if cuda else ((), ())
    kinds = {"gpu_cuda"} if flags else set[str]()
    nodes = _nodes(fitting, root)
    kinds |= {each.kind for each in fitting if each.kind in NODES and nodes}
    return Passed((*flags, *(f"--device={node}" for node in nodes)), frozenset(kinds), missing)


def _is_real(device: Accelerator) -> bool:
    return not device.simulated and device.kind != "cpu" and device.health is not DeviceHealth.UNUSABLE


def _nvidia(tool: ContainerTool, cards: Sequence[Accelerator], root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """By UUID: an index changes when a card falls off the bus."""
    if _has_cdi(root):
        return tuple(f"--device=nvidia.com/gpu={card.id}" for card in cards), ()
    if tool.kind is ToolKind.DOCKER and NVIDIA in tool.runtimes:
        return ("--gpus", f'"device={",".join(card.id for card in cards)}"'), ()
    return (), (NO_CDI,)


def _has_cdi(root: Path) -> bool:
    found = (file for folder in CDI for file in (root / folder).glob("*"))
    return any(file.suffix in (".yaml", ".yml", ".json") and NVIDIA in file.name for file in found)


def _nodes(devices: Iterable[Accelerator], root: Path) -> list[str]:
    found: set[str] = set()
    for device in devices:
        for pattern in NODES.get(device.kind, ()):
            found |= {f"/{node.relative_to(root)}" for node in root.glob(pattern) if _is_of(node, device, root)}
    return sorted(found)


def _is_of(node: Path, device: Accelerator, root: Path) -> bool:
    """A render node links to its card; what does not say whose it is belongs to all."""
    entry = root / "sys/class/drm" / node.name / "device"
    if not device.pci_address or not entry.exists():
        return True
    return entry.resolve().name == device.pci_address
