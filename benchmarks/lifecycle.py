"""From an empty machine to the first reply, and from a crash to the next one, beside the engine by hand."""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Iterator

from benchmarks.by_hand import BODY, engine
from benchmarks.pair import Pair, pair
from benchmarks.row import Row, median

RUNS = 5


def rows() -> Iterator[Row]:
    first = [first_reply() for _ in range(RUNS)]
    yield Row.difference(
        "up + apply -> first reply, above the engine by hand",
        "s",
        ours=median([ours for ours, _ in first]),
        beside=median([by_hand for _, by_hand in first]),
        baseline="the same engine by hand",
        at_most=2.0,
    )
    with pair() as made:
        made.up()
        made.apply()
        crashes = [crash(made) for _ in range(RUNS)]
    yield Row.difference(
        "crash -> next reply, above the engine's own start",
        "s",
        ours=median([ours for ours, _ in crashes]),
        beside=median([by_hand for _, by_hand in crashes]),
        baseline="the same engine by hand",
        at_most=0.5,
    )


def first_reply() -> tuple[float, float]:
    """Seconds of (up, apply, first reply), and of the engine by hand just after it."""
    with pair() as made:
        started = time.monotonic()
        made.up()
        made.apply()
        until_reply(made)
        ours = time.monotonic() - started
        with engine(made.model) as (_, by_hand):
            return ours, by_hand


def crash(made: Pair) -> tuple[float, float]:
    """Seconds from kill -9 of the engine to the next reply, and of the engine by hand just after it."""
    pid = made.instance()["engine_pid"]
    started = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    until_reply(made)
    ours = time.monotonic() - started
    # The rule makes a first restart immediate only after 10 s in ready, and counts it.
    time.sleep(11)
    made.arwctl("runtime", "restore", "tiny", "--reset-budget")
    with engine(made.model) as (_, by_hand):
        return ours, by_hand


def until_reply(made: Pair) -> None:
    """Ask over HTTP until a reply comes, as a patient client does."""
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", int(made.ports["http-port"]), timeout=30)
        headers = {"authorization": f"Bearer {made.token}", "content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", BODY, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status == http.client.OK:
            return
        time.sleep(0.01)
