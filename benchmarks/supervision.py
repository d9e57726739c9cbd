"""What an agent that watches many engines costs, and how soon it decides about one that was killed."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, TextIO

import psutil

from benchmarks.data_path import let_be_used, stub
from benchmarks.idle import core_share
from benchmarks.pair import Pair, pair
from benchmarks.row import Row, median
from node_agent.hardware import child
from node_agent.hardware.usage_watch import sources_of

EMPTY = (sys.executable, "-I", "-c", "pass")
LOOK = [word for word in child.INVENTORY if word != "--lines"]
INSTANCES = 50
KILLS = 15
RUNS = 5
ROUNDS = 100
ROUND_S = 0.02
"""The cost of a round does not depend on the pause before it."""
SETTLE_S = 30
"""After fifty starts, so that none of their work is counted."""
MODEL = """\
version = 1

[[models]]
id = "tiny"
path = "tiny.gguf"
"""
RUNTIME = """
[[runtimes]]
id = "idle-{number}"
adapter = "llama.cpp"
model = "tiny"
auto_start = true
accelerator = "cpu"

[runtimes.settings]
context_length = 512
slots = 1
"""


def rows() -> Iterator[Row]:
    yield from hardware()
    with pair() as made:
        let_be_used(made, Path(__file__).parent, made.folder / "pace.json")
        made.up("--engine", stub(made.folder, 64, 5))
        declare(made)
        time.sleep(SETTLE_S)
        agent = psutil.Process(made.status()["supervisor"]["agent_pid"])
        busy = core_share([agent])[0]
        engines = ready(made)
        yield Row.value(f"agent with {len(engines)} idle instances, CPU", "% of a core", ours=busy, at_most=3.0)
        yield decided(made, engines)


def declare(made: Pair) -> None:
    manifest = made.folder / "idle.toml"
    manifest.write_text(MODEL + "".join(RUNTIME.format(number=number) for number in range(INSTANCES)))
    made.arwctl("runtime", "apply", "-f", manifest, "--wait")


def ready(made: Pair) -> dict[str, int]:
    """The pid of each engine, by runtime."""
    found = [runtime["status"] for runtime in made.status()["supervisor"]["runtimes"]]
    engines = {status["id"]: int(status["engine_pid"]) for status in found if status["state"] == "ready"}
    if len(engines) != INSTANCES:
        raise RuntimeError(f"{len(engines)} of {INSTANCES} instances are ready")
    return engines


def decided(made: Pair, engines: Mapping[str, int]) -> Row:
    """From kill -9 to the step that the agent decides on, above what the kernel takes to end the same process."""
    kills = [kill(made, runtime, pid) for runtime, pid in islice(engines.items(), KILLS)]
    return Row.difference(
        f"kill -9 of one of {len(engines)} engines -> restart decided",
        "ms",
        ours=median([ours for ours, _ in kills]),
        beside=median([kernel for _, kernel in kills]),
        baseline="the kernel tells a pidfd of that engine's end",
        at_most=20,
    )


def kill(made: Pair, runtime: str, pid: int) -> tuple[float, float]:
    """Milliseconds until the agent's journal dates its step, and until a pidfd of our own became readable.

    The agent dates its lines as it logs them, with the clock that dates the kill; reading them later adds nothing.
    """
    with (made.state / "node_agent" / "node-agent.log").open() as journal:
        journal.seek(0, os.SEEK_END)
        descriptor = os.pidfd_open(pid)
        killed = time.time()
        os.kill(pid, signal.SIGKILL)
        select.select([descriptor], [], [])
        gone = time.time()
        os.close(descriptor)
        step = _dated(journal, runtime)
    # What comes back takes processor time, which the next kill must not wait for.
    time.sleep(1)
    return (step - killed) * 1000, (gone - killed) * 1000


def _dated(journal: TextIO, runtime: str) -> float:
    """When the agent decided on a step for this runtime, in seconds since the epoch."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        line = journal.readline()
        if not line:
            time.sleep(0.005)
            continue
        said = json.loads(line) if line.startswith("{") else {}
        if said.get("event") == "instance_step" and said["instance"].endswith(f"/instances/{runtime}"):
            return datetime.fromisoformat(said["timestamp"]).timestamp()
    raise TimeoutError(f"the agent decided nothing about {runtime} within 30 s")


def hardware() -> Iterator[Row]:
    """Processor time of the two children that talk to devices, with whatever tools they call."""
    yield Row.value(
        "a look at the accelerators, CPU of its child",
        "ms",
        ours=median([cpu_of(child.INVENTORY) for _ in range(RUNS)]),
        at_most=150,
        baseline=f"python -I -c pass: {median([cpu_of(EMPTY) for _ in range(RUNS)]):.0f} ms",
    )
    yield Row.value(
        "device figures, CPU of their child, a round",
        "ms",
        ours=median([a_round() for _ in range(RUNS)]),
        at_most=5,
        baseline="one round in 5 s",
    )


def cpu_of(command: Sequence[str]) -> float:
    """Milliseconds, of its own children too."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    return (used.ru_utime + used.ru_stime) * 1000


def a_round() -> float:
    """Milliseconds, over the sources of this machine."""
    command = [*child.USAGE, "--interval", str(ROUND_S), "--sources", *sorted(sources())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            _next_round(process.stdout)
            before = sum(psutil.Process(process.pid).cpu_times())
            for _ in range(ROUNDS):
                _next_round(process.stdout)
            after = sum(psutil.Process(process.pid).cpu_times())
        finally:
            process.kill()
    return (after - before) * 1000 / ROUNDS


def _next_round(lines: IO[bytes]) -> None:
    """Each round has one line of the processor."""
    while json.loads(lines.readline()).get("source") != "processor":
        pass


def sources() -> frozenset[str]:
    """What the agent would read on this machine."""
    told = subprocess.run(LOOK, capture_output=True, check=True).stdout
    devices = json.loads(told)["accelerators"]
    return sources_of([(device["source"], device["details"].get("kernel_driver", "")) for device in devices])
