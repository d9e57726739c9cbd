"""Whether a certificate may speak for its node."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from control_plane.domain.authority import NodeTrust
from control_plane.domain.errors import (
    CertificateExpired,
    CertificateNotActive,
    CertificateRevoked,
    CertificateUnknown,
    NodeQuarantined,
)
from control_plane.domain.ids import NodeId
from control_plane.domain.node import Node, Standing
from wire.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Presented:
    """What a client certificate says; its chain was checked by TLS."""

    node: NodeId
    serial: str
    """Lower-case hex."""
    expire_time: datetime
    issuer: str = ""
    """Id of the authority that signed it."""


def refusal(node: Node | None, presented: Presented, now: datetime) -> Refusal | None:
    """Why not, or None. Revocation comes before expiry: a person has to know it."""
    name = presented.node
    if node is None:
        return CertificateUnknown(f"There is no node {name}.", "Join again with a new join token.", node=name)
    if node.standing is Standing.REVOKED:
        return CertificateRevoked(f"Node {name} was revoked.", "Join again with a new join token.", node=name)
    if presented.expire_time <= now:
        ended = f"{presented.expire_time:%Y-%m-%dT%H:%M:%SZ}"
        return CertificateExpired(
            f"The certificate of node {name} expired at {ended}.",
            "Check the machine's clock; if it is right, join again with a new join token.",
            node=name,
            expire_time=ended,
        )
    if node.standing is Standing.QUARANTINED:
        return quarantined(name)
    is_active = presented.serial in active_serials(node) or _was_forgotten(node, presented)
    if node.standing is not Standing.ADMITTED or not is_active:
        return CertificateNotActive(
            f"This certificate of node {name} is not its active one.",
            "A newer certificate is in use; if no other agent has it, join again with a new join token.",
            node=name,
            serial=presented.serial,
        )
    return None


def quarantined(node: NodeId) -> NodeQuarantined:
    return NodeQuarantined(
        f"Node {node} is quarantined: two agents used its identity.",
        "Stop the copy, then approve or revoke the node.",
        node=node,
    )


def active_serials(node: Node) -> frozenset[str]:
    return frozenset(serial for serial in (node.certificate_serial, node.pending_serial) if serial)


def activated(node: Node, presented: Presented) -> Node:
    """A pending serial becomes the current one when it is first used; the old one is dead from then on."""
    if presented.serial != node.pending_serial and not _was_forgotten(node, presented):
        return node
    return replace(
        node,
        certificate_serial=presented.serial,
        pending_serial="",
        certificate_expire_time=presented.expire_time,
        newer_certificate_believed=False,
        trust=_trust(node, presented),
    )


def _trust(node: Node, presented: Presented) -> NodeTrust:
    """Nobody knows which bundle came with a certificate that was forgotten: the agent will say."""
    if presented.serial == node.pending_serial:
        return node.trust.activated
    return NodeTrust(presented.issuer or node.trust.issuer)


def _was_forgotten(node: Node, presented: Presented) -> bool:
    """Whether the certificate replaced the recorded one after the backup that was put back."""
    recorded = node.certificate_expire_time
    return node.newer_certificate_believed and recorded is not None and presented.expire_time > recorded
