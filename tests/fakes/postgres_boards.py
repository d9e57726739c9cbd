"""Replicas on one board in PostgreSQL, in one process: what they post, and all that they read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from control_plane.domain.errors import StorageUnavailable
from control_plane.domain.ids import ReplicaId
from control_plane.domain.replica import Place
from control_plane.store import postgres_board
from control_plane.store.board_view import Limits
from control_plane.store.postgres import PostgresStore
from control_plane.store.postgres_link import Patience
from control_plane.use_cases.board import Bulletin, Note, NoteKey

SOON = Limits(lost=timedelta(seconds=0.5), silent=timedelta(seconds=1), swept=timedelta(seconds=2))
"""For tests in which somebody dies; a busy machine kills nobody in the others."""
IMPATIENT = Patience(lock=timedelta(milliseconds=300))


@dataclass(slots=True)
class Member:
    """A replica, and all that it knows from its board."""

    store: PostgresStore
    board: postgres_board.PostgresBoard
    last: Bulletin | None = None
    errands: list[bytes] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    @property
    def me(self) -> ReplicaId:
        return self.board.me

    async def beat(
        self, notes: dict[NoteKey, bytes | None] | None = None, *errands: tuple[ReplicaId, bytes]
    ) -> Bulletin:
        self.last = await self.board.beat(notes or {}, errands, Place(str(self.me)))
        self.errands += self.last.errands
        self.notes += self.last.notes
        return self.last

    async def contents(self, note: str = "kind") -> list[tuple[str, bytes | None]]:
        """What one more beat brings."""
        return [(found.key, found.content) for found in (await self.beat()).notes if found.kind == note]


def members(stores: Sequence[PostgresStore], limits: Limits | None = None) -> list[Member]:
    return [Member(store, store.board(limits)) for store in stores]


async def acquainted(stores: Sequence[PostgresStore], limits: Limits | None = None) -> list[Member]:
    """The first leads, and each knows the others."""
    made = members(stores, limits)
    for member in (*made, *made):
        await member.beat()
    return made


def note(key: str, content: bytes | None = b"content") -> dict[NoteKey, bytes | None]:
    return {("kind", key): content}


def living(bulletin: Bulletin) -> list[ReplicaId]:
    return [one.id for one in bulletin.replicas]


def leading(bulletin: Bulletin) -> list[ReplicaId]:
    return [one.id for one in bulletin.replicas if one.leads]


async def until_alone(member: Member, within_s: float = 5) -> float:
    """The seconds until all others are dead."""
    began = time.monotonic()
    while len((await member.beat()).replicas) > 1:
        assert time.monotonic() < began + within_s
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def until_answered(member: Member, within_s: float = 5) -> Bulletin:
    end = time.monotonic() + within_s
    while True:
        try:
            return await member.beat()
        except StorageUnavailable:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
