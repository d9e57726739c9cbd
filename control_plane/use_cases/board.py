"""What replicas tell each other, and through what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from control_plane.domain.ids import ReplicaId
from control_plane.domain.replica import Place, Replica

NoteKey = tuple[str, str]
"""Its kind, and its key among those of the kind."""


@dataclass(frozen=True, slots=True)
class Note:
    """What one replica knows and the others shall know."""

    replica: ReplicaId
    kind: str
    key: str
    content: bytes | None
    """None: no longer."""


@dataclass(frozen=True, slots=True)
class Bulletin:
    """What stood on the board."""

    me: ReplicaId
    replicas: tuple[Replica, ...]
    """All that live, this one included, the oldest first."""
    term: int
    """Of this replica's leadership; 0: another one leads, or nobody."""
    notes: tuple[Note, ...] = ()
    """Of other living replicas, since the last beat; of one that was not there then, all."""
    errands: tuple[bytes, ...] = ()
    """For this replica, each once, in the order in which they were posted."""
    anew: bool = False
    """This replica was not on the board: what it told before is gone, and is to be told again, whole."""
    first: bool = False
    """No other process was there when this one came onto the board for the first time."""


class Board(Protocol):
    """One replica's access to the board."""

    async def beat(
        self, notes: Mapping[NoteKey, bytes | None], errands: Sequence[tuple[ReplicaId, bytes]], place: Place
    ) -> Bulletin:
        """Show that this replica lives and is reached at `place`, post, claim the lead when it is free, and read.

        StorageUnavailable: nothing of it was posted. Call it at least once a second, one call at a time.
        """

    def on_news(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` on the loop when another replica has posted, came or went; spurious calls may happen.

        Returns how to stop.
        """

    async def leave(self) -> None:
        """Take everything of this replica off the board, the lead too. StorageUnavailable."""
