from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from control_plane.domain.authority import Authority, AuthorityStep, check_prepare, stepped
from control_plane.domain.rotation import Rotation, check_activate, check_revoke, rotation
from control_plane.use_cases.authority_events import authority_prepared, authority_stepped
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.ports import Clock, Store, Transaction


class Keys(Protocol):
    """Makes authorities, and has this process follow those of the database."""

    async def successor(self, *, others_run: bool) -> Authority:
        """A new one for the same trust domain, its key kept. InUse when other replicas could not get at it."""

    def discard(self, row: Authority) -> None:
        """One that was made a moment ago, and that nobody heard of."""

    async def refresh(self) -> None:
        """At once; the other replicas follow within two seconds."""


@dataclass(frozen=True, slots=True)
class ReadRotation:
    store: Store
    mirror: Mirror
    clock: Clock

    async def __call__(self) -> Rotation:
        await self.mirror.look()
        rows, operators = await self.store.read(lambda tx: (tx.authorities.all(), tx.operators.all()))
        return rotation(rows, self.mirror.nodes.values(), operators, self.clock.now())


@dataclass(frozen=True, slots=True)
class PrepareAuthority:
    """Make another key, which all learn to trust and which signs nothing yet. InUse while a rotation is under way.

    Nothing happens when one is prepared already.
    """

    store: Store
    clock: Clock
    keys: Keys
    read: ReadRotation
    others_run: Callable[[], bool]
    """Whether other replicas use the database."""

    async def __call__(self) -> Rotation:
        if await self.store.read(lambda tx: check_prepare(tx.authorities.all())) is None:
            made = await self.keys.successor(others_run=self.others_run())
            if await self.store.write(lambda tx: _prepared(tx, made, self.clock.now())) != made:
                self.keys.discard(made)
        await self.keys.refresh()
        return await self.read()


@dataclass(frozen=True, slots=True)
class StepAuthority:
    """Activate the prepared one, taint or revoke the one before. NotFound, InUse; nothing when it was done already."""

    store: Store
    clock: Clock
    keys: Keys
    read: ReadRotation

    async def __call__(self, step: AuthorityStep, *, force: bool = False) -> Rotation:
        await self.store.write(lambda tx: self._stepped(tx, step, force=force))
        await self.keys.refresh()
        return await self.read()

    def _stepped(self, tx: Transaction, step: AuthorityStep, *, force: bool) -> None:
        now = self.clock.now()
        changed = stepped(tx.authorities.all(), step, now)
        if not changed:
            return
        if not force:
            _check(_found(tx, now), step, changed[0])
        for row in changed:
            tx.authorities.put(row)
        tx.journal.append(authority_stepped(changed[0], step, now))


def _check(found: Rotation, step: AuthorityStep, row: Authority) -> None:
    if step is AuthorityStep.ACTIVATED:
        check_activate(found)
    elif step is AuthorityStep.REVOKED:
        check_revoke(found.of(row.id))


def _found(tx: Transaction, now: datetime) -> Rotation:
    return rotation(tx.authorities.all(), tx.nodes.all(), tx.operators.all(), now)


def _prepared(tx: Transaction, made: Authority, now: datetime) -> Authority:
    """The one that another call prepared first, if there is one."""
    found = check_prepare(tx.authorities.all())
    if found is None:
        tx.authorities.put(made)
        tx.journal.append(authority_prepared(made, now))
    return found or made
