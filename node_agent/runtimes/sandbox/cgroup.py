"""The control group of one launch: kills, limits and counts its whole tree. Standard library only, for the shim."""

# ruff: noqa: PTH103, PTH106, PTH110, PTH118, PTH119, PTH120, PTH123

from __future__ import annotations

import os
import signal

CGROUPS = "/sys/fs/cgroup"
MEMBERSHIP = "/proc/self/cgroup"
OWN_GROUP = "arw-agent"
"""DelegateSubgroup= of the agent's unit: a group that holds processes cannot limit groups below it (version 2)."""
MEMORY, PIDS = "memory-limit", "process-limit"
LIMITS = {MEMORY: ("memory.max", "memory.limit_in_bytes"), PIDS: ("pids.max",)}
NO_LIMIT = {
    MEMORY: "no limit is set for it: memory.per_runtime",
    PIDS: "no limit is set for it: sandbox.process_limit",
}
"""With the key by which its owner would set one."""
NOT_OFFERED = "no control group that the agent may use offers it"
HUGE_PAGES = 4 << 20
"""What may be left below a limit when the next page does not fit."""
_SWAP = (("memory.swap.max", False), ("memory.memsw.limit_in_bytes", True))
"""(file, whether it counts memory and swap together)."""


class Cgroup:
    """A leaf for the engine's tree: version 2 with cgroup.kill, else version 1, else none."""

    def __init__(self, name: str, memory_bytes: int = 0, pids: int = 0) -> None:
        wanted = {layer: limit for layer, limit in ((MEMORY, memory_bytes), (PIDS, pids)) if limit}
        unified = _made("0::", name, "cgroup.kill", wanted)
        memory = _made(":memory:", name, "memory.oom_control")
        limited = unified is not None and os.path.exists(f"{unified}/pids.max")
        processes = None if limited or (unified and not pids) else _made(":pids:", name, "cgroup.procs")
        self.kind = "v2" if unified else "v1" if processes else "none"
        self.paths = [path for path in (unified, processes, memory) if path]
        self.memory_bytes = memory_bytes
        self._wanted = wanted

    def limit(self) -> list[dict[str, object]]:
        """The layers that limit the tree, and why one does not. Call it once the tree is in."""
        return [self._limit(layer, self._wanted.get(layer, 0)) for layer in LIMITS]

    def _limit(self, layer: str, amount: int) -> dict[str, object]:
        reason = self._limited(LIMITS[layer], amount) if amount else NO_LIMIT[layer]
        if layer == MEMORY and not reason:
            self._limit_swap()
        return {"name": layer, "in_force": not reason, "reason": reason}

    def _limited(self, names: tuple[str, ...], amount: int) -> str:
        """Why not; empty when it is."""
        for path in self.paths:
            for name in names:
                if os.path.exists(f"{path}/{name}"):
                    return _written(f"{path}/{name}", amount)
        return NOT_OFFERED

    def _limit_swap(self) -> None:
        """Or the limit would only send the engine to the disk; and its whole tree ends together."""
        for path in self.paths:
            for name, together in _SWAP:
                if os.path.exists(f"{path}/{name}"):
                    _written(f"{path}/{name}", self.memory_bytes if together else 0)
            if os.path.exists(f"{path}/memory.oom.group"):
                _written(f"{path}/memory.oom.group", 1)

    def take(self, pid: int) -> None:
        for path in list(self.paths):
            try:
                with open(f"{path}/cgroup.procs", "w", encoding="ascii") as file:
                    file.write(str(pid))
            except OSError:
                self.kind = "none" if path == self.paths[0] else self.kind
                self.paths.remove(path)

    def members(self) -> set[int]:
        pids: set[int] = set()
        for path in self.paths:
            try:
                with open(f"{path}/cgroup.procs", encoding="ascii") as file:
                    pids.update(int(pid) for pid in file.read().split())
            except OSError:
                continue
        return pids

    def kill(self) -> None:
        if self.kind == "v2":
            with open(f"{self.paths[0]}/cgroup.kill", "w", encoding="ascii") as file:
                file.write("1")
            return
        for pid in self.members():
            self._kill_member(pid)

    def _kill_member(self, pid: int) -> None:
        """A pid may be another's by now: only one that is still a member once it is held gets the signal."""
        try:
            held = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        if pid in self.members():
            signal.pidfd_send_signal(held, signal.SIGKILL)
        os.close(held)

    def oom_kills(self) -> int:
        for path in self.paths:
            for name in ("memory.events", "memory.oom_control"):
                counts = _counts(f"{path}/{name}")
                if counts:
                    return counts.get("oom_kill", 0)
        return 0

    def limit_met(self) -> int:
        """The memory limit in bytes when the tree ran into it; 0 when memory ran out elsewhere, or not at all."""
        met = any(_met(path, self.memory_bytes) for path in self.paths) if self.oom_kills() else False
        return self.memory_bytes if met else 0

    def remove(self) -> None:
        for path in self.paths:
            try:
                os.rmdir(path)
            except OSError:
                continue


def sweep(name: str) -> None:
    """Remove the groups of a launch that never came to be. One that holds processes stays."""
    for parent in {parent for mark in ("0::", ":memory:", ":pids:") for parent in _parents(mark)}:
        try:
            os.rmdir(f"{parent}/{name}")
        except OSError:
            continue


def offered(layer: str) -> bool:
    """Whether a launch could be limited: asked of the agent's own groups, without making one."""
    controller = LIMITS[layer][0].partition(".")[0]
    return any(
        os.access(parent, os.W_OK) and (mark != "0::" or _delegates(parent, controller))
        for mark in ("0::", f":{controller}:")
        for parent in _parents(mark)
    )


def _made(mark: str, name: str, needed: str, wanted: dict[str, int] | None = None) -> str | None:
    for parent in _parents(mark):
        if wanted:
            _delegate(parent, [LIMITS[layer][0].partition(".")[0] for layer in wanted])
        try:
            os.makedirs(f"{parent}/{name}", mode=0o755, exist_ok=True)
        except OSError:
            continue
        if os.path.exists(f"{parent}/{name}/{needed}"):
            return f"{parent}/{name}"
    return None


def _parents(mark: str) -> list[str]:
    """Where the leaf may be made: the agent's own group of this hierarchy, or the one around its `OWN_GROUP`."""
    with open(MEMBERSHIP, encoding="utf-8") as file:
        own = next((line.strip().partition(mark)[2] for line in file if mark in line), None)
    if own is None:
        return []
    controller = mark.strip(":")
    roots = (CGROUPS, f"{CGROUPS}/unified") if mark == "0::" else (f"{CGROUPS}/{controller}",)
    above = os.path.dirname(own) if mark == "0::" and os.path.basename(own) == OWN_GROUP else own
    parents = [os.path.join(root, above.strip("/")).rstrip("/") for root in roots]
    return [parent for parent in parents if os.path.exists(f"{parent}/cgroup.procs")]


def _delegate(parent: str, controllers: list[str]) -> None:
    """Version 2: offer these to the groups below, where the kernel lets us. What it refuses shows in the leaf."""
    offered = _words(f"{parent}/cgroup.controllers")
    for controller in controllers:
        if controller in offered:
            _written(f"{parent}/cgroup.subtree_control", f"+{controller}")


def _delegates(parent: str, controller: str) -> bool:
    """The root group, which has no type, may hold processes beside groups that it limits."""
    if controller in _words(f"{parent}/cgroup.subtree_control"):
        return True
    free = not os.path.exists(f"{parent}/cgroup.type") or not _words(f"{parent}/cgroup.procs")
    return free and controller in _words(f"{parent}/cgroup.controllers")


def _written(path: str, content: object) -> str:
    """Why it could not be; empty when it was."""
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(str(content))
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""


def _words(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []


def _counts(path: str) -> dict[str, int]:
    words = _words(path)
    return {name: int(count) for name, count in zip(words[::2], words[1::2], strict=False)}


def _met(path: str, limit: int) -> bool:
    """Version 1 does not count it, but keeps the most that there ever was."""
    if _counts(f"{path}/memory.events").get("oom", 0):
        return True
    most = _words(f"{path}/memory.max_usage_in_bytes")
    return bool(most) and int(most[0]) > limit - HUGE_PAGES
