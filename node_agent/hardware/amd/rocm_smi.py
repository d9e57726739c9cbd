"""`rocm-smi --json` of ROCm releases before amd-smi: {"card0": {"VRAM Total Memory (B)": "…"}, "system": {…}}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from node_agent.domain.inventory import Accelerator, DeviceHealth
from node_agent.hardware.host import Host
from node_agent.hardware.tool_json import object_in

COMMAND = ("rocm-smi", "--showproductname", "--showbus", "--showmeminfo", "vram", "--showdriverversion", "--json")


def probe(host: Host) -> list[Accelerator]:
    """ToolMissingError, ToolFailedError."""
    return parse(host.run(*COMMAND))


def parse(said: str) -> list[Accelerator]:
    told = object_in(said)
    parts = {name: value for name, value in told.items() if isinstance(value, dict)}
    driver = str(parts.get("system", {}).get("Driver version", ""))
    cards = (value for name, value in parts.items() if name.startswith("card"))
    return [_device(card, driver) for card in cards if card.get("PCI Bus")]


def _device(card: Mapping[str, Any], driver: str) -> Accelerator:
    address = str(card["PCI Bus"]).lower()
    total = str(card.get("VRAM Total Memory (B)", ""))
    gfx = str(card.get("GFX Version", ""))
    return Accelerator(
        id=address,
        kind="gpu_rocm",
        display_name=str(card.get("Card Series") or card.get("Card series") or ""),
        memory_bytes=int(total) if total.isdigit() else None,
        driver_version=driver,
        vendor="AMD",
        pci_address=address,
        health=DeviceHealth.OK,
        source="rocm-smi",
        details={"compute_capability": gfx} if gfx else {},
    )
