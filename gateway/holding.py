"""What requests make the gateway keep: bodies that are not whole yet, or may have to be sent once more."""

from __future__ import annotations


class Holding:
    """Counted over all clients: each body is small enough, a thousand of them are not."""

    def __init__(self, most: int) -> None:
        """`most`: bytes."""
        self.most = most
        self.bytes = 0

    def share(self) -> Share:
        return Share(self)


class Share:
    """One connection's part."""

    __slots__ = ("_bytes", "_holding")

    def __init__(self, holding: Holding) -> None:
        self._holding = holding
        self._bytes = 0

    @property
    def exceeded(self) -> bool:
        return self._holding.bytes > self._holding.most

    def hold(self, size: int) -> None:
        """So many bytes from now on."""
        self._holding.bytes += size - self._bytes
        self._bytes = size
