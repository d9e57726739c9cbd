"""A process that waits in the kernel: no signal ends it, as when a device or a disk hangs under it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FREEZER = Path("/sys/fs/cgroup/freezer")
"""Of version 1: what it froze survives SIGKILL; what version 2 froze does not."""


def refusal() -> str:
    """Why it cannot be had here; empty when it can."""
    usable = (FREEZER / "cgroup.procs").exists() and os.access(FREEZER, os.W_OK)
    return "" if usable else f"no version 1 freezer that may be used at {FREEZER}"


@contextmanager
def stuck(pid: int) -> Iterator[None]:
    """Until the block ends; what it was sent meanwhile reaches it then."""
    group = FREEZER / f"arw-stuck-{pid}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        yield
    finally:
        (group / "freezer.state").write_text("THAWED")
        _empty(group)
        group.rmdir()


def _empty(group: Path) -> None:
    """What was killed while it was frozen ends now, in its own time: between being listed and being moved, or after."""
    while left := (group / "cgroup.procs").read_text().split():
        for pid in left:
            with suppress(ProcessLookupError):
                (FREEZER / "cgroup.procs").write_text(pid)
