"""Operators that are killed as their store is about to say its n-th word: forked, so that a hundred take seconds.

    python -m tests.fakes.killed_operator       "ADDRESS N" on standard input is answered with "ACKNOWLEDGED STATUS"

An address is that of a PostgreSQL database or the path of a file. N of 0: it is not killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from control_plane.store.postgres import PostgresStore
from control_plane.store.sqlite import SqliteStore
from tests.fakes.control_plane import World
from tests.fakes.operations import Operator
from tests.fakes.processes import environment
from tests.fakes.tripwire import trip


@dataclass(slots=True)
class End:
    acknowledged: int
    """Operations."""
    status: int
    """0, or the signal that ended it."""


@dataclass(slots=True)
class KilledOperators:
    process: subprocess.Popen[str]

    def run(self, address: str | Path, number: int) -> End:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{address} {number}\n")
        self.process.stdin.flush()
        return End(*map(int, self.process.stdout.readline().split()))


@contextmanager
def killed_operators() -> Iterator[KilledOperators]:
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            yield KilledOperators(process)
        finally:
            process.kill()


async def _operate(address: str, number: int, told: int) -> None:
    """One byte into `told` for each operation that is acknowledged."""
    world, said = World(), 0

    def step(_: str) -> None:
        nonlocal said
        said += 1
        if said == number:
            os.kill(os.getpid(), signal.SIGKILL)

    opened = PostgresStore.open if address.startswith("postgresql:") else SqliteStore.open
    store = await opened(address if address.startswith("postgresql:") else Path(address), world.clock)  # type: ignore[arg-type]
    trip(store, step)
    operator = Operator(store, world)
    for operation in range(len(operator.operations)):
        await operator.do(operation)
        os.write(told, b".")
    await store.close()


def _forked(address: str, number: int) -> End:
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(heard)
        asyncio.run(_operate(address, number, told))
        os._exit(0)
    os.close(told)
    with os.fdopen(heard, "rb") as pipe:
        acknowledged = len(pipe.read())
    return End(acknowledged, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def main() -> None:
    for line in sys.stdin:
        address, number = line.split()
        end = _forked(address, int(number))
        print(end.acknowledged, -end.status, flush=True)


if __name__ == "__main__":
    main()
