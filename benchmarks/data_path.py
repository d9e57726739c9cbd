"""The gateway beside the engine asked directly, with an engine that costs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arwctl.local.ports import free_ports
from benchmarks.lifecycle import until_reply
from benchmarks.load import Outcome
from benchmarks.pair import Pair, child, pair, until_open
from benchmarks.row import Row, median
from control_plane.settings import Paths

ROUNDS = 5
PATH = "/v1/chat/completions"


def rows() -> Iterator[Row]:
    with pair() as made, direct(made.folder, 64, 5) as port:
        let_be_used(made, Path(__file__).parent, made.folder / "pace.json")
        made.up("--engine", stub(made.folder, 64, 5))
        made.apply(slots=256)
        ours, beside = Target(f"{made.http}{PATH}", made.token), Target(f"http://127.0.0.1:{port}{PATH}", "")
        yield throughput(ours, beside, "same machine over a Unix socket", 0.98)
        yield from latencies(ours, beside)
        over_tls(made)
        yield throughput(ours, beside, "node behind the relay, mutual TLS", 0.96)


def let_be_used(made: Pair, *paths: Path) -> None:
    """The stub is called by a script, and only the script is what the node trusts."""
    made.state.mkdir(mode=0o700)
    owner = made.state / "node_agent.toml"
    owner.write_text(f"[sandbox]\nuse = {json.dumps([str(path) for path in paths])}\n")
    owner.chmod(0o600)


def over_tls(made: Pair) -> None:
    """Take the relay's Unix socket away and start the agent again: it then dials the relay's TLS port."""
    (Paths(made.state).runtime / "relay.sock").unlink()
    os.kill(made.status()["supervisor"]["agent_pid"], signal.SIGKILL)
    made.up()
    until_reply(made)


class Target:
    """Somewhere to stream from."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token

    def load(self, streams: int, requests: int, *options: str) -> Outcome:
        command = [sys.executable, "-m", "benchmarks.load", self.url, "--model", "tiny", *options]
        sizes = ["--streams", str(streams), "--requests", str(requests)]
        done = subprocess.run([*command, *sizes], input=f"{self.token}\n", capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{self.url}: {done.stdout}{done.stderr}")
        found = json.loads(done.stdout)
        found.pop("tokens_per_second")
        return Outcome(**found)


def throughput(ours: Target, beside: Target, how: str, at_least: float) -> Row:
    pairs = [(ours.load(64, 4), beside.load(64, 4)) for _ in range(ROUNDS)]
    return Row.ratio(
        f"gateway, 64 streams of 5 ms tokens, {how}",
        "tokens/s",
        ours=median([mine.tokens_per_second for mine, _ in pairs]),
        beside=median([theirs.tokens_per_second for _, theirs in pairs]),
        baseline="the engine directly",
        at_least=at_least,
    )


def latencies(ours: Target, beside: Target) -> Iterator[Row]:
    for count, at_most in ((1, 1.2), (16, 3.0)):
        pairs = [(ours.load(count, 10), beside.load(count, 10)) for _ in range(ROUNDS)]
        yield Row.difference(
            f"added time to first token, {count} at once",
            "ms",
            ours=median([mine.first_token_ms for mine, _ in pairs]),
            beside=median([theirs.first_token_ms for _, theirs in pairs]),
            baseline="the engine directly",
            at_most=at_most,
        )
    plain = [(ours.load(1, 200, "--plain"), beside.load(1, 200, "--plain")) for _ in range(ROUNDS)]
    yield Row.difference(
        "added latency, plain, 1 at once",
        "ms",
        ours=median([mine.whole_ms for mine, _ in plain]),
        beside=median([theirs.whole_ms for _, theirs in plain]),
        baseline="the engine directly",
        at_most=1.5,
    )


def stub(folder: Path, tokens: int, every_ms: float) -> Path:
    """An executable that the agent takes for a llama-server."""
    pace = folder / "pace.json"
    pace.write_text(json.dumps({"tokens": tokens, "every_ms": every_ms}))
    launcher = folder / "llama-server"
    module = Path(__file__).with_name("stub_engine.py")
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} {module} --pace {pace} "$@"\n')
    launcher.chmod(0o755)
    return launcher


@contextmanager
def direct(folder: Path, tokens: int, every_ms: float) -> Iterator[int]:
    """The same engine without anything before it; gives its port."""
    port = int(free_ports()["http-port"])
    with child([stub(folder, tokens, every_ms), "--port", str(port), "-a", "tiny"]):
        until_open(port)
        yield port
