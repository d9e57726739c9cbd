"""An engine in a container beside the same engine as a process. Needs ARW_ENGINE_IMAGE: a llama.cpp that podman has."""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.by_hand import BODY
from benchmarks.lifecycle import until_reply
from benchmarks.pair import MANIFEST, Pair, pair
from benchmarks.row import Row, median

IMAGE = "ARW_ENGINE_IMAGE"
AGENT = Path(sys.executable).with_name("arw-node-agent")
RUNS = 5
REPLIES = 100
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Seen:
    restart_s: float
    """From the order to the next reply."""
    reply_ms: float
    beside_mib: float
    """What stands beside the engine: shim, client, monitor, and the way in."""


def rows() -> Iterator[Row]:
    """None without an image."""
    image = os.environ.get(IMAGE, "")
    if not image:
        return
    with pair() as made:
        made.up()
        made.run(AGENT, "trust", "llama.cpp", "--image", image)
        native, contained = seen(made, "native"), seen(made, "container")
    where = "the same engine natively"
    yield Row.difference(
        "container: restart -> next reply",
        "s",
        ours=contained.restart_s,
        beside=native.restart_s,
        baseline=where,
        at_most=1.0,
    )
    yield Row.difference(
        "container: a whole reply, asked directly",
        "ms",
        ours=contained.reply_ms,
        beside=native.reply_ms,
        baseline=where,
        at_most=1.0,
    )
    yield Row.difference(
        "container: memory beside the engine (PSS)",
        "MiB",
        ours=contained.beside_mib,
        beside=native.beside_mib,
        baseline=where,
        at_most=64,
    )


def seen(made: Pair, mode: str) -> Seen:
    manifest = made.folder / f"{mode}.toml"
    manifest.write_text(MANIFEST.format(slots=2).replace('"cpu"\n', f'"cpu"\nmodes = ["{mode}"]\n'))
    made.arwctl("runtime", "apply", "-f", manifest, "--wait")
    until_reply(made)
    restarts = [restart(made) for _ in range(RUNS)]
    return Seen(median(restarts), median(replies(made)), beside(made) / MIB)


def restart(made: Pair) -> float:
    started = time.monotonic()
    made.arwctl("runtime", "restore", "tiny", "--restart", "--wait")
    until_reply(made)
    return time.monotonic() - started


def replies(made: Pair) -> list[float]:
    """Milliseconds of whole replies, each over a connection of its own."""
    home = made.state / "node_agent" / "instances" / "tiny"
    port = json.loads((home / "launch.json").read_text())["port"]
    headers = {"authorization": f"Bearer {(home / 'api.key').read_text().strip()}", "content-type": "application/json"}
    return [reply(port, headers) for _ in range(REPLIES)]


def reply(port: int, headers: Mapping[str, str]) -> float:
    started = time.monotonic()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("POST", "/v1/chat/completions", BODY, headers)
        answer = connection.getresponse()
        answer.read()
    if answer.status != http.client.OK:
        raise RuntimeError(f"the engine answered {answer.status}")
    return (time.monotonic() - started) * 1000


def beside(made: Pair) -> int:
    """Bytes of all but the engine itself, which is the one that loaded the model."""
    around = psutil.Process(made.instance()["shim_pid"])
    agent = psutil.Process(made.status()["supervisor"]["agent_pid"])
    tree = [around, *around.children(recursive=True), *agent.children()]
    return sum(each.memory_full_info().pss for each in tree if is_beside(each))


def is_beside(process: psutil.Process) -> bool:
    """Not the engine, and no child of the agent that looks at devices."""
    if process.status() == psutil.STATUS_ZOMBIE:
        return False
    words = process.cmdline()
    known = any(word.endswith(("/shim.py", "/passage.py")) for word in words)
    return known or process.name() in ("podman", "docker", "conmon")
