"""A process that is one replica on a board in PostgreSQL, and nothing else.

    python -m tests.fakes.postgres_replica URL CLOCK_OFF_S

It beats ten times a second. Each line of standard input is a command, each line of standard output an answer in JSON:
"term": what it leads in; "living": how many it knows of; "fenced NAME": a node through the fence, and how that ended;
"write COUNT": so many changes of a revision and an event each, and the revisions that it got.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from control_plane.domain.errors import NotLeading
from control_plane.domain.event import Event
from control_plane.domain.replica import Place
from control_plane.store.board_view import Limits
from control_plane.store.fenced import FencedStore
from control_plane.store.postgres import PostgresStore
from control_plane.use_cases.board import Board, Bulletin
from control_plane.use_cases.ports import Transaction
from tests.fakes.processes import environment
from tests.fakes.store_rows import NOON, StandingClock
from tests.fakes.stores import put_node
from wire.refusal import Refusal

LIMITS = Limits(lost=timedelta(seconds=1), silent=timedelta(seconds=3))
BEAT_S = 0.1


@dataclass(slots=True)
class ReplicaProcess:
    process: subprocess.Popen[str]

    def ask(self, words: str) -> Any:
        self.begin(words)
        return self.answer()

    def begin(self, words: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@contextmanager
def replica_process(url: str, clock_off: timedelta = timedelta()) -> Iterator[ReplicaProcess]:
    command = [sys.executable, "-m", __name__, url, str(clock_off.total_seconds())]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(), bufsize=1
    )
    with process:
        try:
            yield ReplicaProcess(process)
        finally:
            process.kill()


class _Replica:
    def __init__(self, store: PostgresStore, board: Board) -> None:
        self._store = store
        self._board = board
        self._last: Bulletin | None = None
        self._fenced = FencedStore(store, lambda: self._last.term if self._last else 0)

    async def beat(self) -> None:
        while True:
            self._last = await self._board.beat({}, (), Place())
            await asyncio.sleep(BEAT_S)

    async def obey(self, lines: asyncio.StreamReader) -> None:
        while line := await lines.readline():
            command, _, rest = line.decode().strip().partition(" ")
            print(json.dumps(await self._answer(command, rest)), flush=True)

    async def _answer(self, command: str, rest: str) -> object:
        match command:
            case "term":
                return self._last.term if self._last else 0
            case "living":
                return len(self._last.replicas) if self._last else 0
            case "fenced":
                return await self._write_fenced(rest)
            case _:
                return [await self._store.write(_changed) for _ in range(int(rest))]

    async def _write_fenced(self, name: str) -> str:
        try:
            await self._fenced.write(put_node(name))
        except (NotLeading, Refusal) as refusal:
            return type(refusal).__name__
        return "stored"


def _changed(tx: Transaction) -> int:
    tx.journal.append(Event("node.online", "subject"))
    return tx.revise("nodes", "subject")


async def _main(url: str, clock_off_s: str) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    clock = StandingClock(NOON + timedelta(seconds=float(clock_off_s)))
    store = await PostgresStore.open(url, clock)
    replica = _Replica(store, store.board(LIMITS))
    async with asyncio.TaskGroup() as group:
        beating = group.create_task(replica.beat())
        await replica.obey(lines)
        beating.cancel()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
