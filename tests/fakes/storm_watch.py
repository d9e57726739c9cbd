"""What is seen of a storm from outside: engines by their command lines, and whether they answer."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.tree import CGROUPS
from tests.fakes.drilled import Behaviours

STEADY = "steady"
NAMES = (STEADY, "crasher", "stopper", "restored", "changed", "comer", "forker")
OK = 200
MOST = dict.fromkeys(NAMES, 1) | {"changed": 2}
"""Engines at once: other settings start beside the earlier ones."""


class Watch:
    """Looks all the time whether an instance has two engines, and asks the one that nobody touches."""

    def __init__(self, folder: Path, behaviours: Behaviours) -> None:
        self.doubles: list[str] = []
        self.answers: Counter[int] = Counter()
        self._folder = folder
        self._behaviours = behaviours
        self._over = Event()

    @contextmanager
    def on(self) -> Iterator[None]:
        threads = [Thread(target=self._look_for_doubles), Thread(target=self._ask)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def engines(self) -> dict[str, list[int]]:
        """Those that live, by instance."""
        started = {name: set(self._behaviours.starts(name)) for name in NAMES}
        return {name: [pid for pid in pids if self._is_engine(pid, name)] for name, pids in started.items()}

    def _is_engine(self, pid: int, name: str) -> bool:
        return f"{self._folder}/{name}.json" in arguments(pid)

    def _look_for_doubles(self) -> None:
        while not self._over.wait(0.03):
            self.doubles += [f"{name}: {pids}" for name, pids in self.engines().items() if len(pids) > MOST[name]]

    def _ask(self) -> None:
        while not self._over.wait(0.01):
            self.answers[asked(self._folder / "state" / "instances" / STEADY)] += 1


def asked(home: Path) -> int:
    """Status of a chat, 0 when nothing came of it."""
    try:
        at = berth(home)
        port = json.loads((at / "launch.json").read_bytes())["port"]
        key = (at / "api.key").read_text().strip()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {key}"})
        status = connection.getresponse().status
        connection.close()
    except (OSError, http.client.HTTPException):
        return 0
    return status


def berth(home: Path) -> Path:
    """Where the last launch of an instance lies."""
    state = json.loads((home / "state.json").read_bytes())
    return home / "beside" if state.get("beside") else home


def arguments(pid: int) -> Collection[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ()


def ours(folder: Path) -> dict[int, str]:
    """Command lines of engines, what they forked, and shims."""
    marks = (f"{folder}/state/instances/", *(f"{folder}/{name}.json" for name in NAMES))
    everyone = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    found = {pid: arguments(pid) for pid in everyone}
    return {pid: " ".join(words) for pid, words in found.items() if any(word.startswith(marks) for word in words)}


def leaves(home: Path) -> list[str]:
    """Control groups of any launch of an instance."""
    patterns = [at.cgroup_leaf(0).removesuffix("0") + "*" for at in InstanceDirectory(home).berths()]
    return [str(folder) for pattern in patterns for folder in CGROUPS.rglob(pattern)]
