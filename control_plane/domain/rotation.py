"""Who would be left out by the next step of a rotation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.authority import Authority, digest, oldest
from control_plane.domain.errors import InUse
from control_plane.domain.ids import AuthorityId, NodeId, OperatorId
from control_plane.domain.node import Node, Standing
from control_plane.domain.operator import Operator

NAMED = 20
"""Nodes that a refusal names."""


@dataclass(frozen=True, slots=True)
class Held:
    """An authority, and who has certificates of it that count now."""

    authority: Authority
    nodes: tuple[NodeId, ...]
    operators: tuple[OperatorId, ...]


@dataclass(frozen=True, slots=True)
class Rotation:
    held: tuple[Held, ...]
    unready: tuple[NodeId, ...]
    """Nodes that do not trust all of the authorities yet."""

    def of(self, authority: AuthorityId) -> Held:
        return next(one for one in self.held if one.authority.id == authority)


def rotation(
    authorities: Sequence[Authority], nodes: Iterable[Node], operators: Iterable[Operator], now: datetime
) -> Rotation:
    first, wanted = oldest(authorities), digest(authorities)
    certified = [node for node in nodes if _is_certified(node, now)]
    enabled = [operator for operator in operators if operator.certificate_serial and not operator.revoked]
    held = tuple(
        Held(
            one,
            tuple(node.id for node in certified if (node.trust.issuer or first) == one.id),
            tuple(operator.id for operator in enabled if (operator.issuer or first) == one.id),
        )
        for one in authorities
    )
    return Rotation(held, tuple(node.id for node in certified if node.trust.bundle != wanted))


def check_activate(found: Rotation) -> None:
    """InUse while some would not know the control plane any more."""
    if found.unready:
        raise InUse(
            f"{_counted(len(found.unready), 'node')} would not trust the new authority yet: {_named(found.unready)}.",
            "A node learns of it when it is connected, one with an older agent when it renews its certificate: "
            "wait, then try again. With --force those that do not know it by then have to join again.",
            nodes=_named(found.unready),
        )


def check_revoke(held: Held) -> None:
    """InUse while some have nothing but certificates of it."""
    if not held.nodes and not held.operators:
        return
    counted = (_counted(len(held.nodes), "node"), _counted(len(held.operators), "operator"))
    names = _named((*held.nodes, *held.operators))
    raise InUse(
        f"{counted[0]} and {counted[1]} have certificates of the authority {held.authority.shown}: {names}.",
        "They renew them by themselves when they are connected; an operator at the next call, or by "
        "`arw-control-plane init` where the context file was made. With --force those that are left have to join "
        "again, and to make a new context file.",
        nodes=_named(held.nodes),
        operators=_named(held.operators),
    )


def _is_certified(node: Node, now: datetime) -> bool:
    ends = node.certificate_expire_time
    return node.standing is Standing.ADMITTED and bool(node.certificate_serial) and (ends is None or now < ends)


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(ids[:NAMED]) + more


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
