"""What the devices of this machine do now. Runs in a child: `python -I -m node_agent.hardware.usage`.

Prints a JSON line a source and round, and one for each event, until its standard input ends. With --once it prints
one round and ends. The agent starts it again when it dies, and kills it when it falls silent.
"""

from __future__ import annotations

import argparse
import select
import socket
import sys
import time
from collections.abc import Sequence

from node_agent.hardware import lifeline, uevents
from node_agent.hardware.host import LocalHost
from node_agent.hardware.usage_lines import DeviceEvent, to_json
from node_agent.hardware.usage_sources import BUILDERS, Line, Source, sources


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m node_agent.hardware.usage", description=__doc__)
    parser.add_argument("--interval", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--sources", nargs="*", default=["processor"], choices=list(BUILDERS), metavar="SOURCE")
    parser.add_argument("--once", action="store_true")
    given = parser.parse_args(arguments)
    readers = sources(given.sources, LocalHost())
    if not given.once:
        lifeline.hold()
    _round(readers)
    if given.once:
        return 0
    events = uevents.listen()
    while True:
        _wait(given.interval, events)
        _round(readers)


def _round(readers: Sequence[Source]) -> None:
    for read in readers:
        for line in read():
            _say(line)


def _wait(seconds: float, events: socket.socket | None) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([events] if events else [], [], [], left)
        if events is not None and ready and uevents.devices_turned(events):
            _say(DeviceEvent())


def _say(line: Line) -> None:
    sys.stdout.write(to_json(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
