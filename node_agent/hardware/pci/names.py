"""Product names from the list of PCI ids that most systems carry."""

from __future__ import annotations

from pathlib import Path

from node_agent.hardware.host import Host

LISTS = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids")


def device_name(host: Host, vendor: str, device: str) -> str:
    """Empty when no list knows it."""
    names = (_found(host.root / path, vendor, device) for path in LISTS)
    return next((name for name in names if name), "")


def _found(path: Path, vendor: str, device: str) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            of_vendor = ""
            for line in lines:
                if line.startswith("\t"):
                    if of_vendor and line.startswith(f"\t{device}  "):
                        return f"{of_vendor} {line.split(None, 1)[1].strip()}"
                elif not line.startswith("#"):
                    of_vendor = line.split(None, 1)[1].strip() if line.startswith(f"{vendor}  ") else ""
    except OSError:
        return ""
    return ""
