"""GPUs and the Neural Engine of a Mac, from system_profiler and sysctl."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from node_agent.domain.inventory import Accelerator, DeviceHealth
from node_agent.hardware.host import Host, ToolFailedError, ToolMissingError
from node_agent.hardware.report import ProbeFailedError
from node_agent.hardware.tool_json import objects_in

SYSCTLS = (
    "hw.memsize",
    "hw.ncpu",
    "hw.physicalcpu",
    "hw.perflevel0.logicalcpu",
    "hw.perflevel1.logicalcpu",
    "hw.optional.arm64",
    "hw.model",
    "machdep.cpu.brand_string",
    "iogpu.wired_limit_mb",
)
MIB = 1 << 20
SIZES = {"MB": MIB, "GB": 1 << 30, "TB": 1 << 40}


def probe(host: Host, _known: Sequence[Accelerator] = ()) -> list[Accelerator]:
    if host.system != "darwin":
        return []
    try:
        displays = host.run("system_profiler", "SPDisplaysDataType", "-json")
        return parse(displays, sysctls(host))
    except (ToolFailedError, ToolMissingError) as error:
        failed = error if isinstance(error, ToolFailedError) else ToolFailedError(f"{error} is missing")
        raise ProbeFailedError(failed.problem("system_profiler")) from None


def sysctls(host: Host) -> dict[str, str]:
    """One at a time: sysctl fails as a whole when a name is not known on this Mac."""
    found = {}
    for name in SYSCTLS:
        try:
            found[name] = host.run("sysctl", "-n", name).strip()
        except ToolFailedError:
            continue
    return found


def parse(displays: str, machine: Mapping[str, str]) -> list[Accelerator]:
    cards = objects_in(displays, "SPDisplaysDataType")
    gpus = [_gpu(place, card, machine) for place, card in enumerate(cards) if "sppci_model" in card or "_name" in card]
    return [*gpus, *_neural_engine(machine)]


def metal_memory_bytes(machine: Mapping[str, str]) -> int | None:
    """What Metal may take: the limit that is set, else what macOS leaves it by default, three quarters at most."""
    limit, total = machine.get("iogpu.wired_limit_mb", "0"), machine.get("hw.memsize", "")
    if limit.isdigit() and int(limit):
        return int(limit) * MIB
    if not total.isdigit():
        return None
    small = int(total) <= 36 << 30
    return int(total) * 2 // 3 if small else int(total) * 3 // 4


def _gpu(place: int, card: Mapping[str, Any], machine: Mapping[str, str]) -> Accelerator:
    apple = card.get("spdisplays_vendor") == "sppci_vendor_Apple"
    metal = str(card.get("spdisplays_mtlgpufamilysupport", "")).removeprefix("spdisplays_")
    own = _size(str(card.get("spdisplays_vram") or card.get("_spdisplays_vram") or ""))
    details = {"compute_capability": metal, "gpu_cores": str(card.get("sppci_cores", ""))}
    name = str(card.get("sppci_model") or card.get("_name"))
    return Accelerator(
        id=f"{machine.get('hw.model', 'mac').lower()}-gpu{place}",
        kind="gpu_metal",
        display_name=name,
        memory_bytes=metal_memory_bytes(machine) if apple else own,
        vendor="Apple" if apple else str(card.get("spdisplays_vendor", "")).split(" ")[0].removeprefix("sppci_vendor_"),
        health=DeviceHealth.OK if metal else DeviceHealth.UNKNOWN,
        unified_memory=apple or "spdisplays_vram_shared" in card,
        source="system_profiler",
        details={key: value for key, value in details.items() if value},
    )


def _neural_engine(machine: Mapping[str, str]) -> list[Accelerator]:
    """Inferred: macOS does not list it, and every Apple chip has one."""
    chip = machine.get("machdep.cpu.brand_string", "")
    if not chip.startswith("Apple "):
        return []
    return [
        Accelerator(
            id=f"{machine.get('hw.model', 'mac').lower()}-ane",
            kind="npu_coreml",
            display_name=f"{chip} Neural Engine",
            vendor="Apple",
            unified_memory=True,
            source="sysctl",
            details={"inferred_from": chip},
        )
    ]


def _size(said: str) -> int | None:
    found = re.match(r"(\d+) (MB|GB|TB)$", said)
    return int(found[1]) * SIZES[found[2]] if found else None
