"""Processes that still belong to a state directory."""

from __future__ import annotations

import os
from pathlib import Path

from arwctl.local.process import start_ticks


def left(state_dir: Path) -> dict[int, str]:
    """Command lines by pid of what was started for the state directory and still runs.

    A session whose leader names the directory is ours: the programs are started in sessions of their own. What
    a person runs on these files in a terminal is not.
    """
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        pid = int(entry.name) if entry.name.isdigit() else 0
        if pid and pid != os.getpid() and _belongs(pid, state_dir):
            found[pid] = " ".join(_arguments(pid))
    return found


def _belongs(pid: int, state_dir: Path) -> bool:
    if start_ticks(pid) is None or not _names(pid, state_dir):
        return False
    leader = _session(pid)
    return leader not in {0, os.getsid(0)} and (start_ticks(leader) is None or _names(leader, state_dir))


def _names(pid: int, state_dir: Path) -> bool:
    folder = str(state_dir)
    return any(word == folder or word.startswith(f"{folder}/") for word in _arguments(pid))


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0
