"""What a test may hold: any store, and changes to run on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from control_plane.domain.event import Event
from control_plane.use_cases.ports import Store, Transaction, Upkeep
from tests.fakes.store_rows import a_node


class AnyStore(Store, Upkeep, Protocol):
    async def close(self) -> None: ...


def put_node(name: str) -> Callable[[Transaction], None]:
    return lambda tx: tx.nodes.put(a_node(name))


def revise(kind: str, name: str) -> Callable[[Transaction], int]:
    return lambda tx: tx.revise(kind, name)


def append(kinds: str) -> Callable[[Transaction], None]:
    """An event of each of the kinds, which blanks separate."""

    def change(tx: Transaction) -> None:
        for kind in kinds.split():
            tx.journal.append(Event(kind, "subject"))

    return change
