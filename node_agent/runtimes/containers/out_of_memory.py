"""Counts the kernel's kills for lack of memory in the control group of a container."""

from __future__ import annotations

from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def counter_of(pid: int, cgroups: Path = CGROUPS, proc: Path = Path("/proc")) -> Path | None:
    """The file that counts them; None where no memory controller is."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    groups = [line.split(":", 2) for line in lines]
    for _, controllers, path in groups:
        file = _counter(cgroups, controllers, path.lstrip("/"))
        if file is not None and file.exists():
            return file
    return None


def _counter(cgroups: Path, controllers: str, path: str) -> Path | None:
    if "memory" in controllers.split(","):
        return cgroups / "memory" / path / "memory.oom_control"
    return cgroups / path / "memory.events" if not controllers else None


def kills(counter: Path) -> int | None:
    """None when the group is gone."""
    try:
        words = counter.read_text(encoding="ascii").split()
    except OSError:
        return None
    return int(dict(zip(words[::2], words[1::2], strict=False)).get("oom_kill", 0))
