"""The same engine started by hand: what any supervisor can at best be as fast as."""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arwctl.local.ports import free_ports
from benchmarks.pair import child
from node_agent.runtimes.fronts import llama_wheel

BODY = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "hello"}]})


@contextmanager
def engine(model: Path) -> Iterator[tuple[int, float]]:
    """The wheel's server with a model; gives its port and the seconds until its first reply."""
    port = int(free_ports()["http-port"])
    command = [sys.executable, llama_wheel.__file__, "-m", str(model), "--port", str(port), "-a", "tiny", "-c", "2048"]
    started = time.monotonic()
    with child([*command, "-np", "2"]):
        while ask(port) != http.client.OK:
            time.sleep(0.005)
        yield port, time.monotonic() - started


def ask(port: int) -> int:
    """The status of one chat, 0 while nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/v1/chat/completions", BODY, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
    except OSError:
        return 0
    else:
        return answer.status
    finally:
        connection.close()
