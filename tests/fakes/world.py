"""Real processes, the real command line, a real llama.cpp, ports that nobody uses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from arwctl import tiny_model
from arwctl.local.leftovers import left
from arwctl.local.ports import free_ports
from arwctl.local.process import start_ticks
from tests.fakes.patience import SLACK

ARWCTL = Path(sys.executable).with_name("arwctl")
MANIFEST = """\
version = 1

[[models]]
id = "tiny-chat"
path = "tiny-chat.gguf"

[[runtimes]]
id = "tiny-chat"
adapter = "llama.cpp"
model = "tiny-chat"
auto_start = true
modalities = ["text"]
accelerator = "cpu"

[runtimes.settings]
context_length = 1024
slots = 2
"""


def skip_without_engine(items: list[pytest.Item]) -> None:
    """Without an engine the tests that need one are skipped, with the way to get it."""
    if find_spec("xllamacpp") or os.environ.get("LLAMA_SERVER_BIN"):
        return
    missing = pytest.mark.skip(reason="no llama.cpp: install arw[llama], or set LLAMA_SERVER_BIN")
    for item in items:
        if item.get_closest_marker("engine"):
            item.add_marker(missing)


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str


class World:
    """One state directory, driven as a person does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.ports = free_ports()

    def arwctl(self, *words: str | Path, given: str = "", timeout_s: float = 120) -> Said:
        return self.command(ARWCTL, *words, given=given, timeout_s=timeout_s)

    def command(self, program: Path, *words: str | Path, given: str = "", timeout_s: float = 120) -> Said:
        done = subprocess.run(
            [program, *words],
            input=given,
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=timeout_s,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def done(self, *words: str | Path, timeout_s: float = 120) -> str:
        said = self.arwctl(*words, timeout_s=timeout_s)
        assert said.code == 0, f"arwctl {' '.join(map(str, words))}: {said.code}\n{said.out}\n{said.err}\n{self.logs()}"
        return said.out

    def environment(self) -> dict[str, str]:
        found = {**os.environ, "ARW_STATE_DIR": str(self.state), "ARW_TIMERS": "test"}
        found.pop("ARW_CONTEXT", None)
        return found

    def up_words(self) -> list[str]:
        return ["up", *(word for name, port in self.ports.items() for word in (f"--{name}", str(port)))]

    def up(self) -> None:
        self.done(*self.up_words(), "--detach")

    @contextmanager
    def foreground(self) -> Iterator[subprocess.Popen[bytes]]:
        """`arwctl up` as a person leaves it running in a terminal."""
        with (self.folder / "foreground.log").open("wb") as log:
            command = [str(ARWCTL), *self.up_words()]
            with subprocess.Popen(command, stdout=log, stderr=log, env=self.environment()) as process:
                try:
                    yield process
                finally:
                    process.kill()

    def apply(self, text: str = MANIFEST) -> None:
        model = self.folder / "tiny-chat.gguf"
        if not model.exists():
            tiny_model.write(model)
        file = self.folder / "tiny-chat.toml"
        file.write_text(text)
        self.done("runtime", "apply", "-f", file, "--wait")

    def chat(self) -> str:
        return self.done("chat", "-m", "tiny-chat", "--wait", "30s", "hello").strip()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.done("runtime", "status", "--json"))
        return found

    def instance(self) -> dict[str, Any]:
        status: dict[str, Any] = self.status()["supervisor"]["runtimes"][0]["status"]
        return status

    def until(self, holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds * SLACK
        while not holds():
            assert time.monotonic() < end, f"{what} did not happen within {seconds * SLACK} s\n{self.logs()}"
            time.sleep(0.2)

    def logs(self) -> str:
        files = [*self.state.glob("*/*.log"), *self.state.glob("node_agent/instances/*/*.log")]
        return "\n".join(f"--- {file}\n{_end_of(file)}" for file in files)

    def end(self) -> None:
        """Whatever a failed test left, by pid."""
        try:
            if self.state.exists():
                self.arwctl("down")
        finally:
            kill_left(self.state)


def _end_of(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-3000:]
    except FileNotFoundError:
        return "gone meanwhile"


def kill_left(state: Path) -> None:
    """Whatever belongs to the directory; the end of one may be the end of others."""
    for pid in left(state):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def gone(pid: int) -> bool:
    return start_ticks(pid) is None


def kill_hard(pid: int) -> None:
    send(pid, signal.SIGKILL)
    end = time.monotonic() + 30
    while not gone(pid):
        assert time.monotonic() < end, f"{pid} was killed and lives"
        time.sleep(0.02)


def send(pid: int, number: signal.Signals) -> None:
    assert pid > 0, "nobody to signal: 0 is our own process group"
    os.kill(pid, number)


@contextmanager
def new_world(kind: type[World] = World) -> Iterator[World]:
    """In a short folder: sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="arw-e2e-", ignore_cleanup_errors=True) as folder:
        made = kind(Path(folder))
        try:
            yield made
        finally:
            made.end()
