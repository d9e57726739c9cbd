"""Who listens on a port of this machine, as the kernel tells it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
LISTENING = "0A"
LOCAL, STATE, INODE = 1, 3, 9
"""Columns of the tables."""


def is_strangers(port: int, ours: Collection[int]) -> bool:
    """Whether somebody listens there, and certainly none of these processes."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    return bool(sockets) and not any(_holds(pid, sockets) for pid in ours)


def _listening(port: int) -> Iterator[str]:
    ending = f":{port:04X}"
    for table in TABLES:
        for row in _rows(table):
            if row[STATE] == LISTENING and row[LOCAL].endswith(ending):
                yield row[INODE]


def _rows(table: str) -> list[list[str]]:
    try:
        return [line.split() for line in Path(table).read_text(encoding="ascii").splitlines()[1:]]
    except OSError:
        return []


def _holds(pid: int, sockets: Collection[str]) -> bool:
    """A process whose descriptors cannot be seen may well hold one."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as descriptors:
            return any(_behind(entry.path) in sockets for entry in descriptors)
    except PermissionError:
        return True
    except OSError:
        return False


def _behind(descriptor: str) -> str:
    try:
        return os.readlink(descriptor)  # noqa: PTH115 - a Path for each descriptor is too dear
    except OSError:
        return ""
