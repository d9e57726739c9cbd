"""The keys that sign for a control plane, and how one takes another's place.

       prepare            activate            taint             revoke
(none) ───────► prepared ─────────► active ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄►
                                    active ─► old ───► tainted ─────► revoked

A step that was taken already is taken again without any effect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from control_plane.domain.errors import InUse, NotFound
from control_plane.domain.ids import AuthorityId

SHOWN_LENGTH = 12
"""Characters of an id that a person gets to see."""


class AuthorityState(StrEnum):
    PREPARED = "prepared"
    """Trusted; signs nothing yet."""
    ACTIVE = "active"
    OLD = "old"
    """Signs no more; what it signed counts."""
    TAINTED = "tainted"
    """What it signed counts, and is to be renewed now."""
    REVOKED = "revoked"
    """What it signed counts no more."""

    @property
    def label(self) -> str:
        return self.value.capitalize()


class AuthorityStep(StrEnum):
    ACTIVATED = "activated"
    TAINTED = "tainted"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Authority:
    """One key. At every moment one is active, and at most one other is not revoked."""

    id: AuthorityId
    state: AuthorityState
    certificate: bytes
    """DER, signed by itself."""
    sealed_key: bytes | None = None
    """None: the key is on the disk of the control plane that made it, and nowhere else."""
    create_time: datetime | None = None
    change_time: datetime | None = None
    """When it came into its state."""

    @property
    def shown(self) -> str:
        return self.id[:SHOWN_LENGTH]

    @property
    def is_trusted(self) -> bool:
        return self.state is not AuthorityState.REVOKED


@dataclass(frozen=True, slots=True)
class NodeTrust:
    """Who signed for a node, and whom it trusts. Empty: as it was before there was more than one authority."""

    issuer: str = ""
    """Id of the authority that signed its active certificate."""
    pending_issuer: str = ""
    bundle: str = ""
    """Digest of the authorities that it said it trusts, or that it got with its active certificate."""
    pending_bundle: str = ""

    @property
    def activated(self) -> NodeTrust:
        """Once the pending certificate is in use: it is stored together with the bundle that came with it."""
        return NodeTrust(self.pending_issuer or self.issuer, "", self.pending_bundle or self.bundle)


def in_state(authorities: Sequence[Authority], *states: AuthorityState) -> Authority | None:
    return next((one for one in authorities if one.state in states), None)


def trusted(authorities: Sequence[Authority]) -> tuple[Authority, ...]:
    """The active one first, then by age."""
    active = [one for one in authorities if one.state is AuthorityState.ACTIVE]
    rest = [one for one in authorities if one.is_trusted and one not in active]
    return (*active, *sorted(rest, key=_age))


def digest(authorities: Sequence[Authority]) -> str:
    """Of all that are trusted: what a node says when it trusts just them."""
    return hashlib.sha256(b"".join(sorted(one.certificate for one in trusted(authorities)))).hexdigest()


def oldest(authorities: Sequence[Authority]) -> AuthorityId:
    """Whose the certificates are of which nobody wrote down who signed them."""
    return min(authorities, key=_age).id


def stepped(authorities: Sequence[Authority], step: AuthorityStep, now: datetime) -> tuple[Authority, ...]:
    """Those that the step changes, as they are after it; none when it was taken already. NotFound, InUse."""
    match step:
        case AuthorityStep.ACTIVATED:
            return _activated(authorities, now)
        case AuthorityStep.TAINTED:
            return _tainted(authorities, now)
        case AuthorityStep.REVOKED:
            return _revoked(authorities, now)


def check_prepare(authorities: Sequence[Authority]) -> Authority | None:
    """The one that is prepared already; None: another may be made now. InUse."""
    former = in_state(authorities, AuthorityState.OLD, AuthorityState.TAINTED)
    if former is not None:
        raise InUse(
            f"The authority {former.shown} is still trusted: the last rotation is not over.",
            f"{_next_step(former)} Then prepare the next one.",
            authority=former.id,
        )
    return in_state(authorities, AuthorityState.PREPARED)


def _activated(authorities: Sequence[Authority], now: datetime) -> tuple[Authority, ...]:
    prepared = in_state(authorities, AuthorityState.PREPARED)
    if prepared is None:
        if len(authorities) > 1:
            return ()
        raise NotFound("No authority is prepared.", "Prepare one first: arwctl admin ca prepare")
    active = in_state(authorities, AuthorityState.ACTIVE)
    before = [replace(active, state=AuthorityState.OLD, change_time=now)] if active else []
    return (replace(prepared, state=AuthorityState.ACTIVE, change_time=now), *before)


def _tainted(authorities: Sequence[Authority], now: datetime) -> tuple[Authority, ...]:
    old = in_state(authorities, AuthorityState.OLD)
    if old is not None:
        return (replace(old, state=AuthorityState.TAINTED, change_time=now),)
    _check_rotated(authorities)
    return ()


def _revoked(authorities: Sequence[Authority], now: datetime) -> tuple[Authority, ...]:
    tainted = in_state(authorities, AuthorityState.TAINTED)
    if tainted is not None:
        return (replace(tainted, state=AuthorityState.REVOKED, sealed_key=None, change_time=now),)
    old = in_state(authorities, AuthorityState.OLD)
    if old is not None:
        raise InUse(f"The authority {old.shown} is not tainted yet.", _next_step(old), authority=old.id)
    _check_rotated(authorities)
    return ()


def _check_rotated(authorities: Sequence[Authority]) -> None:
    """A step that would be the next one of a rotation that did not begin, or came only so far."""
    if in_state(authorities, AuthorityState.PREPARED):
        raise NotFound("The new authority is not active yet.", "Activate it first: arwctl admin ca activate")
    if len(authorities) == 1:
        raise NotFound("There is one authority, and no other.", "Prepare another first: arwctl admin ca prepare")


def _next_step(former: Authority) -> str:
    if former.state is AuthorityState.OLD:
        return "Have what it signed renewed: arwctl admin ca taint"
    return "Once nobody has a certificate of it: arwctl admin ca revoke"


def _age(one: Authority) -> tuple[bool, float, str]:
    """One without a time was there before times were kept."""
    return one.create_time is not None, one.create_time.timestamp() if one.create_time else 0.0, one.id
