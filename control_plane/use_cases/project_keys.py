"""The keys by which programs of a project ask for inference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from control_plane.domain import secret
from control_plane.domain.errors import InvalidArgument, TokenUsed
from control_plane.domain.ids import KeyId, ProjectId
from control_plane.domain.project import KEY_ID_BYTES, MAX_KEYS, MAX_LABEL, KeyUse, ProjectKey, check_ttl, check_words
from control_plane.use_cases import project_events
from control_plane.use_cases.once import Request, remember, repeated, request
from control_plane.use_cases.ports import Clock, Randomness, Store, Transaction
from control_plane.use_cases.project_rows import forget_key, key_of, keys_of, project_of


@dataclass(frozen=True, slots=True)
class KeyGrant:
    key: ProjectKey
    text: str
    """ "{id}.{secret}": shown once, kept as a hash."""


@dataclass(frozen=True, slots=True)
class CreateProjectKey:
    """Make a key. NotFound, InvalidArgument.

    A repeated call makes a new secret for the same key, for its first answer was lost; TokenUsed if it was not.
    """

    store: Store
    clock: Clock
    randomness: Randomness

    async def __call__(
        self, project: ProjectId, *, label: str = "", ttl: timedelta | None = None, request_id: str = ""
    ) -> KeyGrant:
        """`ttl` None: it does not expire."""
        check_words(label, MAX_LABEL, "label")
        check_ttl(ttl)
        asked = request("CreateProjectKey", request_id, project, label, ttl)
        text = secret.crockford(self.randomness.secret(secret.SECRET_BYTES))
        id_ = KeyId(secret.crockford(self.randomness.secret(KEY_ID_BYTES)))
        now = self.clock.now()
        new = ProjectKey(id_, project, secret.hashed(text), now, label, None if ttl is None else now + ttl)
        key = await self.store.write(lambda tx: _granted(tx, new, asked))
        return KeyGrant(key, f"{key.id}.{text}")


def _granted(tx: Transaction, new: ProjectKey, asked: Request) -> ProjectKey:
    project_of(tx, new.project)
    answer = repeated(tx, asked)
    if answer is not None:
        return _anew(tx, key_of(tx, new.project, KeyId(answer.decode())), new.secret_sha256)
    _make_room(tx, new.project, new.create_time)
    remember(tx, asked, new.id.encode())
    tx.project_keys.put(new)
    tx.journal.append(project_events.key_created(new, new.create_time))
    return new


def _anew(tx: Transaction, key: ProjectKey, secret_sha256: str) -> ProjectKey:
    if key.revoke_time is not None or tx.key_uses.get(key.id) is not None:
        raise TokenUsed("The key that this request made was used or revoked.", "Make a new one.", key=key.id)
    key = replace(key, secret_sha256=secret_sha256)
    tx.project_keys.put(key)
    return key


def _make_room(tx: Transaction, project: ProjectId, now: datetime) -> None:
    """The oldest that counts no more is forgotten for a new one."""
    keys = keys_of(tx, project)
    if len(keys) < MAX_KEYS:
        return
    over = next((key for key in keys if key.over(now)), None)
    if over is None:
        text = f"Project {project} has {MAX_KEYS} keys, and may have no more."
        raise InvalidArgument(text, f"Revoke one first: arwctl project key list {project}.", project=project)
    forget_key(tx, over.id)


@dataclass(frozen=True, slots=True)
class RevokeProjectKey:
    """End a key; one that is revoked already stays so. NotFound."""

    store: Store
    clock: Clock

    async def __call__(self, project: ProjectId, key: KeyId) -> ProjectKey:
        return await self.store.write(lambda tx: self._revoked(tx, project, key))

    def _revoked(self, tx: Transaction, project: ProjectId, key: KeyId) -> ProjectKey:
        row, now = key_of(tx, project, key), self.clock.now()
        if row.revoke_time is not None:
            return row
        row = replace(row, revoke_time=now)
        tx.project_keys.put(row)
        tx.journal.append(project_events.key_revoked(row, now))
        return row


@dataclass(frozen=True, slots=True)
class RecordKeyUses:
    """Write down on which days keys were last used. Asked seldom: it is a write, though it takes no revision."""

    store: Store

    async def __call__(self, days: Mapping[KeyId, date]) -> None:
        if days:
            await self.store.write(lambda tx: _record(tx, days))


def _record(tx: Transaction, days: Mapping[KeyId, date]) -> None:
    for key, day in days.items():
        before = tx.key_uses.get(key)
        if (before is None or before.day < day) and tx.project_keys.get(key) is not None:
            tx.key_uses.put(KeyUse(key, day))
