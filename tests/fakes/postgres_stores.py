"""Stores of one PostgreSQL database, as several processes have them, and those who follow them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from control_plane.domain.errors import StorageUnavailable
from control_plane.store.postgres import PostgresStore
from control_plane.store.postgres_link import Patience
from control_plane.use_cases.ports import Change, Store, Transaction
from tests.fakes.store_rows import StandingClock


@asynccontextmanager
async def opened(url: str, patience: Patience | None = None, note: Path | None = None) -> AsyncIterator[PostgresStore]:
    made = await PostgresStore.open(url, StandingClock(), patience, note)
    try:
        yield made
    finally:
        await made.close()


@contextmanager
def idle_in_transaction(connection: psycopg.Connection[Any], statement: str) -> Iterator[None]:
    connection.execute(statement.encode())
    try:
        yield
    finally:
        connection.rollback()


@dataclass(slots=True)
class Follower:
    """Reads the change log as watchers do: from the last revision on, when it is woken."""

    store: Store
    seen: list[Change] = field(default_factory=list)
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, newest: int) -> None:
        """Until this revision was seen."""
        stop = self.store.on_change(lambda _: self.bell.set())
        try:
            while (last := self.seen[-1].revision if self.seen else 0) < newest:
                self.seen += await self.store.read(partial(_changes, after=last))
                if self.seen and self.seen[-1].revision < newest:
                    await self.bell.wait()
                    self.bell.clear()
        finally:
            stop()

    @property
    def revisions(self) -> list[int]:
        return [change.revision for change in self.seen]


def _changes(tx: Transaction, after: int) -> list[Change]:
    return list(tx.changes(after))


def slowly(kind: str, name: str, dice: random.Random) -> Callable[[Transaction], int]:
    """Takes its revision and waits a random while before the commit."""

    def change(tx: Transaction) -> int:
        revision = tx.revise(kind, name)
        time.sleep(dice.random() / 100)
        return revision

    return change


async def heard(store: Store, within: float = 3) -> int:
    """The next revision that the store's listeners hear of."""
    found: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    stop = store.on_change(lambda revision: None if found.done() else found.set_result(revision))
    try:
        return await asyncio.wait_for(found, within)
    finally:
        stop()


async def until_served(store: Store, within: float = 15) -> None:
    end = time.monotonic() + within
    while True:
        try:
            await store.write(lambda tx: tx.revision())
        except StorageUnavailable:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        else:
            return
