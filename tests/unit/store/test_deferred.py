from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import pytest

from control_plane.domain.errors import SessionSuperseded, StorageUnavailable
from control_plane.store import deferred
from control_plane.store.deferred import DeferredWrites
from control_plane.store.memory import MemoryStore
from control_plane.use_cases.ports import Store, Transaction
from tests.fakes.store_rows import StandingClock
from tests.fakes.stores import append

T = TypeVar("T")


@dataclass(slots=True)
class Away:
    """A store that can be away."""

    inner: Store
    is_away: bool = False

    async def write(self, change: Callable[[Transaction], T]) -> T:
        if self.is_away:
            raise StorageUnavailable("The database is away.", "Wait.")
        return await self.inner.write(change)

    async def read(self, query: Callable[[Transaction], T]) -> T:
        return await self.inner.read(query)

    def is_newest(self, revision: int) -> bool:
        return self.inner.is_newest(revision)

    def on_change(self, listener: Callable[[int], None]) -> Callable[[], None]:
        return self.inner.on_change(listener)


@pytest.fixture
def away() -> Away:
    return Away(MemoryStore(StandingClock()))


async def kinds(store: Store) -> str:
    return " ".join(event.kind for event in await store.read(lambda tx: tx.journal.after(0, (), 100)))


async def test_what_cannot_be_stored_is_stored_later_in_its_order(away: Away) -> None:
    store = DeferredWrites(away)
    await store.write(append("a"))
    away.is_away = True
    await store.write(append("b"))
    await store.flush()
    away.is_away = False
    await store.write(append("c"))
    assert await kinds(store) == "a"
    await store.flush()
    assert await kinds(store) == "a b c"
    await store.write(append("d"))
    assert await kinds(store) == "a b c d"


async def test_a_change_that_is_refused_later_holds_up_no_other(away: Away) -> None:
    def superseded(_: Transaction) -> None:
        raise SessionSuperseded("Another session speaks for the node.")

    store = DeferredWrites(away)
    with pytest.raises(SessionSuperseded):
        await store.write(superseded)
    away.is_away = True
    for change in (append("a"), superseded, append("b")):
        await store.write(change)
    away.is_away = False
    await store.flush()
    assert await kinds(store) == "a b"


async def test_what_is_kept_is_bounded(away: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred, "MAX_KEPT", 2)
    store = DeferredWrites(away)
    away.is_away = True
    for kind in "abc":
        await store.write(append(kind))
    away.is_away = False
    await store.flush()
    assert await kinds(store) == "b c"
