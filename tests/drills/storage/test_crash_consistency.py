"""The process ends at each boundary of its writes; what is found then is compared with what ought to be there."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from control_plane.domain.errors import StorageUnavailable
from control_plane.store.postgres import PostgresStore
from control_plane.store.sqlite import SqliteStore
from tests.fakes.control_plane import World
from tests.fakes.killed_operator import killed_operators
from tests.fakes.operations import Operator, Rows, rows_of_file, rows_of_server
from tests.fakes.postgres import PostgresServer, postgres_server
from tests.fakes.store_rows import StandingClock
from tests.fakes.stores import put_node
from tests.fakes.tripwire import DONE, trip

pytestmark = pytest.mark.timeout(120)
KILLS = 16
CUTS = 150


@dataclass(slots=True)
class Left:
    """The files as a kill leaves them: all that was written, and not a byte of what was not."""

    folder: Path
    acknowledged: int
    commits: int

    def file(self, beside: Path) -> Path:
        """A copy: whoever opens it makes it whole."""
        return Path(shutil.copytree(self.folder, beside / self.folder.name)) / "arw.db"


@dataclass(slots=True)
class Watched:
    """A history on a file, with what was left at each of its boundaries."""

    folder: Path
    states: list[Rows] = field(default_factory=list)
    """At the start, then after each commit."""
    commits_of: list[int] = field(default_factory=lambda: [0])
    """How many commits there were when so many operations were acknowledged."""
    left: list[Left] = field(default_factory=list)
    _files: dict[str, int] = field(default_factory=dict)

    async def run(self) -> None:
        world = World()
        # The log of what is watched begins with the history, and not with the making of the tables.
        await (await SqliteStore.open(self.folder / "arw.db", world.clock)).close()
        store = await SqliteStore.open(self.folder / "arw.db", world.clock)
        self.states.append(rows_of_file(self.folder / "arw.db"))
        # Kept open: the first to close a file takes every lock of its process away.
        self._files = {name: os.open(self.folder / name, os.O_RDONLY) for name in ("arw.db", "arw.db-wal")}
        trip(store, self._step)
        operator = Operator(store, world)
        for number in range(len(operator.operations)):
            await operator.do(number)
            self.commits_of.append(len(self.states) - 1)
        await store.close()

    def _step(self, said: str) -> None:
        if said == DONE:
            self.states.append(rows_of_file(self.folder / "arw.db"))
        folder = self.folder / f"left-{len(self.left)}"
        folder.mkdir()
        for name, file in self._files.items():
            (folder / name).write_bytes(os.pread(file, os.fstat(file).st_size, 0))
        self.left.append(Left(folder, len(self.commits_of) - 1, len(self.states) - 1))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    made = Watched(tmp_path_factory.mktemp("watched"))
    asyncio.run(made.run())
    return made


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


def sound(rows: Rows) -> None:
    """What holds of every state, whoever made it."""
    ((_, revision, compacted, last_event),) = rows["meta"]
    logged = {row[0][1] for row in rows["change_log"]}
    assert logged == set(range(compacted + 1, revision + 1)), "each revision is in the change log, and no other"
    assert [row[0][1] for row in rows["events"]] == list(range(1, last_event + 1))
    named = {(row[1][1], row[2][1]) for row in rows["change_log"]}
    documents = {
        table: {row[0][1]: json.loads(row[-1][1]) for row in rows[table]} for table in ("nodes", "runtimes", "models")
    }
    if not compacted:
        assert named >= {(table, name) for table, found in documents.items() for name in found}
    placed = {
        (runtime["node"], f"nodes/{runtime['node']}/instances/{name}", runtime["generation"])
        for name, runtime in documents["runtimes"].items()
        if runtime.get("node")
    }
    desired = {(row[0][1], row[1][1]): row for row in rows["desired"]}
    live = {(*key, row[3][1]) for key, row in desired.items() if row[4][1] is not None}
    assert live == placed
    assert all(row[2][1] in logged or row[2][1] <= compacted for row in desired.values())


def test_every_state_of_the_history_is_sound(watched: Watched) -> None:
    assert len(watched.states) > 15
    for rows in watched.states:
        sound(rows)


def test_a_process_that_ends_at_any_boundary_of_its_writes_leaves_what_it_acknowledged_and_nothing_by_half(
    watched: Watched, tmp_path: Path
) -> None:
    assert len(watched.left) > 200
    for left in watched.left:
        assert rows_of_file(left.file(tmp_path)) == watched.states[left.commits], left
        assert left.commits >= watched.commits_of[left.acknowledged], left
    # What is on the disk and was not yet said to be.
    assert any(left.commits > watched.commits_of[left.acknowledged] for left in watched.left)


async def test_what_was_left_is_opened_and_gone_on_with(watched: Watched, tmp_path: Path) -> None:
    for left in watched.left[:: len(watched.left) // 12]:
        store = await SqliteStore.open(left.file(tmp_path), StandingClock())
        before = await store.read(lambda tx: tx.revision())
        await store.write(put_node("later"))
        assert await store.read(lambda tx: tx.revision()) == before + 1
        await store.close()


def test_a_log_that_was_cut_off_anywhere_opens_as_a_beginning_of_the_history(watched: Watched, tmp_path: Path) -> None:
    """As the power does it: of what was not yet synced any part may be missing, or be there as garbage."""
    whole, dice = watched.left[-1].folder, random.Random(4)  # noqa: S311 - repeatable, not secret
    log = (whole / "arw.db-wal").read_bytes()
    found = set()
    for number, length in enumerate(sorted(dice.sample(range(len(log)), CUTS))):
        file = tmp_path / f"{number}.db"
        file.write_bytes((whole / "arw.db").read_bytes())
        (tmp_path / f"{number}.db-wal").write_bytes(log[:length] + dice.randbytes(dice.choice((0, 100, 5000))))
        state = watched.states.index(rows_of_file(file))
        found.add(state)
        assert max(found) == state, "the longer the log, the later the state"
    assert len(found) > 10


def some(boundaries: int) -> list[int]:
    return sorted(random.Random(7).sample(range(1, boundaries + 1), KILLS))  # noqa: S311 - repeatable, not secret


def agrees(rows: Rows, watched: Watched, acknowledged: int) -> bool:
    """The operation in hand is there whole, or not at all."""
    commits = watched.commits_of[acknowledged]
    return rows in watched.states[commits : commits + 2]


def test_a_process_killed_at_a_boundary_leaves_what_it_acknowledged(watched: Watched, tmp_path: Path) -> None:
    with killed_operators() as operators:
        for number in some(len(watched.left)):
            file = tmp_path / f"{number}.db"
            end = operators.run(file, number)
            assert end.status == signal.SIGKILL
            assert agrees(rows_of_file(file), watched, end.acknowledged), number


def test_a_process_killed_at_a_boundary_leaves_in_postgresql_what_it_acknowledged(
    watched: Watched, postgres: PostgresServer
) -> None:
    with killed_operators() as operators:
        whole = postgres.new_database()
        assert operators.run(whole, 0).status == 0
        assert rows_of_server(whole) == watched.states[-1], "both stores hold the same"
        for number in some(150):
            url = postgres.new_database()
            end = operators.run(url, number)
            assert end.status == signal.SIGKILL
            assert agrees(rows_of_server(url), watched, end.acknowledged), number


@pytest.mark.parametrize(("operation", "said"), [(1, "INSERT INTO runtimes"), (8, "COMMIT"), (11, DONE), (13, "BEGIN")])
async def test_postgresql_that_ends_at_a_boundary_has_what_was_acknowledged(
    watched: Watched, postgres: PostgresServer, operation: int, said: str
) -> None:
    """As `pg_ctl stop -m immediate` ends it."""
    url, world = postgres.new_database(), World()
    store = await PostgresStore.open(url, world.clock)
    operator, in_hand = Operator(store, world), 0

    def step(word: str) -> None:
        if in_hand == operation and said in word:
            postgres.stop(signal.SIGQUIT)

    trip(store, step)
    with pytest.raises(StorageUnavailable):
        while True:
            await operator.do(in_hand)
            in_hand += 1
    postgres.start()
    assert in_hand in (operation, operation + 1)
    assert agrees(rows_of_server(url), watched, in_hand)
    await store.close()
