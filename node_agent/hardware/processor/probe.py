"""Processor and memory that this agent may use: what the machine has, within what its cgroups leave."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Machine:
    os: str
    arch: str
    os_release: str
    cpu_name: str
    cpu_cores: int
    memory_bytes: int


def read_machine(root: Path = ROOT) -> Machine:
    """`root` holds proc, sys and etc."""
    named = platform.uname()
    return Machine(
        os=named.system.lower(),
        arch=named.machine,
        os_release=_os_release(root) or named.release,
        cpu_name=_cpu_name(root) or named.machine,
        cpu_cores=_cores(root),
        memory_bytes=memory_bytes(root) or 0,
    )


def _os_release(root: Path) -> str:
    line = _first_line(root / "etc/os-release", "PRETTY_NAME=")
    return line.removeprefix("PRETTY_NAME=").strip().strip('"')


def _cpu_name(root: Path) -> str:
    return _first_line(root / "proc/cpuinfo", "model name").partition(":")[2].strip()


def _cores(root: Path) -> int:
    """A quota of 1.5 cores counts as 1: engines start whole threads."""
    limits = [*_v2_quotas(root), *_v1_quotas(root)]
    return max(1, int(min([len(os.sched_getaffinity(0)), *limits])))


def _v2_quotas(root: Path) -> Iterator[float]:
    for folder in _groups(root, "0::", ("sys/fs/cgroup", "sys/fs/cgroup/unified")):
        quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            yield int(quota) / int(period)


def _v1_quotas(root: Path) -> Iterator[float]:
    for folder in _groups(root, "cpu", ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct")):
        quota, period = (_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
        if quota.isdigit() and period.isdigit() and int(period):
            yield int(quota) / int(period)


def memory_bytes(root: Path) -> int | None:
    """What the machine has, within what its cgroups leave; None when it does not tell."""
    total = _of_meminfo(root, "MemTotal:")
    return None if total is None else min([total, *(limit for limit, _ in _memory_groups(root))])


def available_memory_bytes(root: Path) -> int | None:
    """What may still be taken, by the machine and by each group that limits us."""
    free = _of_meminfo(root, "MemAvailable:")
    if free is None:
        return None
    return max(0, min([free, *(limit - used for limit, used in _memory_groups(root) if used is not None)]))


def _of_meminfo(root: Path, name: str) -> int | None:
    words = _first_line(root / "proc/meminfo", name).split()
    return int(words[1]) << 10 if len(words) > 1 else None


def _memory_groups(root: Path) -> Iterator[tuple[int, int | None]]:
    """(limit, use) in bytes of each group that limits us."""
    v2 = _groups(root, "0::", ("sys/fs/cgroup", "sys/fs/cgroup/unified"))
    v1 = _groups(root, "memory", ("sys/fs/cgroup/memory",))
    files = [(folder / "memory.max", folder / "memory.current") for folder in v2]
    files += [(folder / "memory.limit_in_bytes", folder / "memory.usage_in_bytes") for folder in v1]
    for limit, use in ((_text(limit).strip(), _text(use).strip()) for limit, use in files):
        if limit.isdigit():
            yield int(limit), int(use) if use.isdigit() else None


def _groups(root: Path, controller: str, mounts: tuple[str, ...]) -> Iterator[Path]:
    """Our own group in a hierarchy and all above it: each may limit us."""
    own = _own_group(root, controller)
    for mount in mounts if own is not None else ():
        folder = root / mount / str(own).lstrip("/")
        yield folder
        yield from (above for above in folder.parents if above.is_relative_to(root / mount))


def _own_group(root: Path, controller: str) -> str | None:
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if (controller == "0::" and number == "0") or controller in controllers.split(","):
            return path
    return None


def _first_line(path: Path, start: str) -> str:
    return next((line for line in _text(path).splitlines() if line.startswith(start)), "")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
