"""What a person waits for before reading the help."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.pair import ARWCTL
from benchmarks.row import Row, median

RUNS = 7


def rows() -> Iterator[Row]:
    pairs = [(seconds([ARWCTL, "--help"]), seconds([sys.executable, "-c", "pass"])) for _ in range(RUNS)]
    yield Row.difference(
        "arwctl --help, above an empty interpreter",
        "s",
        ours=median([ours for ours, _ in pairs]),
        beside=median([empty for _, empty in pairs]),
        baseline="python -c pass",
        at_most=0.2,
    )


def seconds(command: Sequence[str | Path]) -> float:
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started
