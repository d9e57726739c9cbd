"""A control plane and an agent of their own, in a temporary state directory, driven through the command line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from arwctl import tiny_model
from arwctl.local.ports import free_ports

ARWCTL = Path(sys.executable).with_name("arwctl")
MANIFEST = """\
version = 1

[[models]]
id = "tiny"
path = "tiny.gguf"

[[runtimes]]
id = "tiny"
adapter = "llama.cpp"
model = "tiny"
auto_start = true
accelerator = "cpu"

[runtimes.settings]
context_length = 1024
slots = {slots}
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """Paths and addresses of one pair; `up` has not been called yet."""

    folder: Path
    ports: Mapping[str, int | str]

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.ports['http-port']}"

    @property
    def model(self) -> Path:
        return self.folder / "tiny.gguf"

    @property
    def token(self) -> str:
        context: dict[str, Any] = json.loads((self.state / "context.json").read_text())
        return str(context["token"])

    @property
    def port_options(self) -> list[str]:
        return [word for name, port in self.ports.items() for word in (f"--{name}", str(port))]

    def arwctl(self, *words: str | Path) -> str:
        return self.run(ARWCTL, *words)

    def run(self, program: Path, *words: str | Path) -> str:
        done = subprocess.run([program, *words], env=self._environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{program.name} {' '.join(map(str, words))}: {done.stdout}{done.stderr}")
        return done.stdout

    def up(self, *words: str | Path) -> None:
        self.arwctl("up", "--detach", *self.port_options, *words)

    def apply(self, slots: int = 2) -> None:
        manifest = self.folder / "tiny.toml"
        manifest.write_text(MANIFEST.format(slots=slots))
        self.arwctl("runtime", "apply", "-f", manifest, "--wait")

    def chat(self) -> str:
        return self.arwctl("chat", "-m", "tiny", "hello")

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.arwctl("runtime", "status", "--json"))
        return found

    def instance(self) -> dict[str, Any]:
        found: dict[str, Any] = self.status()["supervisor"]["runtimes"][0]["status"]
        return found

    def _environment(self) -> dict[str, str]:
        found = {name: value for name, value in os.environ.items() if not name.startswith("ARW_")}
        return {**found, "ARW_STATE_DIR": str(self.state)}


@contextmanager
def pair() -> Iterator[Pair]:
    """A pair with a tiny model; whatever it started is stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="arw-bench-", ignore_cleanup_errors=True) as folder:
        made = Pair(Path(folder), free_ports())
        tiny_model.write(made.model)
        try:
            yield made
        finally:
            if made.state.exists():
                made.arwctl("down")


@asynccontextmanager
async def control_plane(made: Pair) -> AsyncIterator[psutil.Process]:
    """Only the control plane of a pair."""
    run_file = made.state / "control_plane" / "run.json"
    run_file.unlink(missing_ok=True)
    program = Path(sys.executable).with_name("arw-control-plane")
    context = made.state / "context.json"
    options = ["--state-dir", str(made.state), "--context-file", str(context), *made.port_options]
    with (made.folder / "control-plane.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(program, "run", *options, stdout=log, stderr=log)
    try:
        while process.returncode is None and not run_file.exists():  # noqa: ASYNC110 - a file is no event
            await asyncio.sleep(0.05)
        yield psutil.Process(process.pid)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()
        else:
            print((made.folder / "control-plane.log").read_text()[-2000:], file=sys.stderr)


@contextmanager
def child(command: Sequence[str | Path], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block; its output goes nowhere."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, env={**os.environ, **environment}) as process:
        try:
            yield process
        finally:
            process.terminate()


def until_open(port: int, seconds: float = 30) -> None:
    """Wait until something accepts on a loopback port."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.005)
    raise TimeoutError(f"nothing listens on port {port} after {seconds} s")
