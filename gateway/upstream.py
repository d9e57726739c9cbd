"""A connection that carries one request at a time to whoever answers it."""

from __future__ import annotations

from typing import Protocol

from wire.byte_pump import Source


class Borrower(Protocol):
    """Has an upstream connection to itself until it is done."""

    def received(self, data: bytes) -> None: ...

    def broken(self) -> None:
        """The connection is gone."""


class Upstream(Source):
    """Free while nobody has borrowed it; a free connection that speaks is cut off."""

    _borrower: Borrower | None = None

    def borrow(self, borrower: Borrower, message: bytes) -> None:
        self._borrower = borrower
        self.transport.write(message)

    def free(self) -> None:
        self._borrower = None

    def data_received(self, data: bytes) -> None:
        if self._borrower is None:
            self.unasked(data)
        else:
            self._borrower.received(data)

    def unasked(self, data: bytes) -> None:
        del data
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        borrower, self._borrower = self._borrower, None
        self.gone()
        if borrower is not None:
            borrower.broken()

    def gone(self) -> None:
        """Hook: the connection is lost."""


class Lender(Protocol):
    """Has upstream connections to lend."""

    def lend(self, passage: Carried) -> None:
        """Call `passage.carry` now or later, or `passage.refuse` when it cannot be."""

    def forget(self, passage: Carried) -> None:
        """It waits no longer."""

    def take_back(self, upstream: Upstream) -> None:
        """Free again, and fit for another request."""


class Carried(Protocol):
    """A request that waits for a connection."""

    @property
    def over(self) -> bool: ...

    def start(self) -> None:
        """Ask its lender, for the first time or once more."""

    def wait_in_line(self) -> None:
        """The lender has something else to wait for first; `start` is called then."""

    def carry(self, upstream: Upstream) -> None: ...

    def refuse(self, refusal: Exception) -> None: ...
