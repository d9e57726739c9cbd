"""What a control plane was told by its environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from control_plane.process.run_file import start_ticks


def environment_of(run_file: Path) -> tuple[Mapping[str, str], int]:
    """Of the process that the run file names, and its pid; this one's own, and 0, where none serves or may be asked."""
    try:
        noted = json.loads(run_file.read_bytes())
        pid = int(noted["pid"])
        if start_ticks(pid) == noted["start_ticks"]:
            return _parsed(Path(f"/proc/{pid}/environ").read_bytes()), pid
    except (OSError, ValueError, KeyError, TypeError):
        return os.environ, 0
    return os.environ, 0


def _parsed(raw: bytes) -> Mapping[str, str]:
    pairs = (entry.partition("=") for entry in os.fsdecode(raw).split("\0") if "=" in entry)
    return {name: value for name, _, value in pairs}
