"""What the journal says of authorities. No key, and no certificate."""

from __future__ import annotations

from datetime import datetime

from control_plane.domain.authority import Authority, AuthorityStep
from control_plane.domain.event import Event
from control_plane.domain.ids import resource_name


def authority_prepared(row: Authority, now: datetime) -> Event:
    return Event("authority.prepared", _subject(row), _payload(row), time=now)


def authority_stepped(row: Authority, step: AuthorityStep, now: datetime) -> Event:
    match step:
        case AuthorityStep.ACTIVATED:
            return Event("authority.activated", _subject(row), _payload(row), time=now)
        case AuthorityStep.TAINTED:
            return Event("authority.tainted", _subject(row), _payload(row), time=now)
        case AuthorityStep.REVOKED:
            return Event("authority.revoked", _subject(row), _payload(row), time=now)


def _subject(row: Authority) -> str:
    return resource_name("authorities", row.id)


def _payload(row: Authority) -> dict[str, str]:
    return {"id": row.id, "state": row.state.value}
