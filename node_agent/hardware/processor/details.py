"""What the processor can do, as far as inference asks."""

from __future__ import annotations

import re
from pathlib import Path

from node_agent.hardware.host import children, text

USEFUL = re.compile(
    r"sse4_2|avx|avx2|f16c|fma|bmi2|avx_vnni|avx512\w+|amx_\w+|asimd|asimdhp|asimddp|i8mm|bf16|sve|sve2|sme"
)


def processor_details(root: Path) -> dict[str, str]:
    info = text(root / "proc/cpuinfo")
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", info, re.MULTILINE)
    known = flags[1].split() if flags else []
    cores = {(found[1], found[2]) for found in re.finditer(r"physical id\s*: (\d+)[\s\S]*?core id\s*: (\d+)", info)}
    nodes = sum(1 for _ in children(root / "sys/devices/system/node", "node[0-9]*"))
    found = {
        "features": " ".join(name for name in known if USEFUL.fullmatch(name)),
        "physical_cores": str(len(cores) or ""),
        "sockets": str(len({socket for socket, _ in cores}) or ""),
        "numa_nodes": str(nodes or ""),
    }
    return {name: value for name, value in found.items() if value}
