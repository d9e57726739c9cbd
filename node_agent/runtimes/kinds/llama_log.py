"""Reads what a llama-server uses from its log."""

from __future__ import annotations

import re
from collections.abc import Sequence

from node_agent.runtimes.kinds.llama_help import kind_of

OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
USING = re.compile(r"using device (\S+) \((.*)\) \((\S+)\)")


def offloaded(log: Sequence[str]) -> tuple[str, str] | None:
    """(accelerator kind, description) when layers lie on a device; None when the log tells of none."""
    text = "\n".join(log)
    layers, device = OFFLOADED.search(text), USING.search(text)
    if layers is None or device is None or int(layers[1]) == 0:
        return None
    return kind_of(device[1]), f"{device[2]}, {layers[1]} of {layers[2]} layers"
