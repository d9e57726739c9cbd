"""A store whose next change fails on request, before its commit or after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

from control_plane.domain.errors import StorageUnavailable
from control_plane.use_cases.ports import Store, Transaction

T = TypeVar("T")


class Fault(Enum):
    BEFORE_COMMIT = auto()
    """The change ran, and nothing of it is stored."""
    AFTER_COMMIT = auto()
    """The change is stored, and its caller does not learn so."""


@dataclass(slots=True)
class FaultyStore:
    """Everything else is the inner store's."""

    inner: Store
    _fault: Fault | None = None

    def fail_next(self, fault: Fault) -> None:
        self._fault = fault

    async def write(self, change: Callable[[Transaction], T]) -> T:
        fault, self._fault = self._fault, None
        if fault is Fault.BEFORE_COMMIT:
            return await self.inner.write(lambda transaction: _run_and_fail(change, transaction))
        result = await self.inner.write(change)
        if fault is Fault.AFTER_COMMIT:
            raise _unavailable()
        return result

    async def read(self, query: Callable[[Transaction], T]) -> T:
        return await self.inner.read(query)

    def is_newest(self, revision: int) -> bool:
        return self.inner.is_newest(revision)

    def on_change(self, listener: Callable[[int], None]) -> Callable[[], None]:
        return self.inner.on_change(listener)


def _run_and_fail(change: Callable[[Transaction], T], transaction: Transaction) -> T:
    change(transaction)
    raise _unavailable()


def _unavailable() -> StorageUnavailable:
    return StorageUnavailable("The disk that holds the database failed on request.", "Repeat the request.")
