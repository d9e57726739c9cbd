"""Who may take which node id."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from control_plane.domain.errors import AlreadyExists, NodeQuarantined
from control_plane.domain.ids import NodeId
from control_plane.domain.join_token import JoinToken
from control_plane.domain.node import Node, Standing


@dataclass(frozen=True, slots=True)
class Applicant:
    key_sha256: str
    """Of the public key in its signing request."""
    machine_id_hash: str
    wish: str
    """The node id that it would like; may be empty."""
    uid: str
    """For the node, if it is a new one."""


def named(token: JoinToken, applicant: Applicant) -> NodeId:
    """The id that the token binds, else the one wished for, else one made from the token."""
    return token.node_id or NodeId(applicant.wish or f"node-{token.id}")


def enrolled(existing: Node | None, token: JoinToken, applicant: Applicant, name: NodeId, now: datetime) -> Node:
    """The node as the token lets it in; its certificate comes later.

    AlreadyExists when another key has the id and the token does not bind it; NodeQuarantined.
    """
    node = _entrant(existing, token, applicant, name, now)
    standing = Standing.WAITING_FOR_APPROVAL if token.requires_approval else Standing.ADMITTED
    return replace(
        node,
        standing=standing,
        labels=node.labels | token.labels,
        machine_id_hash=applicant.machine_id_hash,
        public_key_sha256=applicant.key_sha256,
        certificate_serial="",
        pending_serial="",
    )


def _entrant(existing: Node | None, token: JoinToken, applicant: Applicant, name: NodeId, now: datetime) -> Node:
    """Nothing of a revoked node comes back but its session epoch, which must never repeat."""
    if existing is None or existing.standing is Standing.REVOKED:
        epoch = existing.session_epoch if existing else 0
        return Node(name, applicant.uid, "", Standing.WAITING_FOR_APPROVAL, session_epoch=epoch, create_time=now)
    _check_claim(existing, token, applicant)
    return existing


def _check_claim(existing: Node, token: JoinToken, applicant: Applicant) -> None:
    if existing.standing is Standing.QUARANTINED:
        raise NodeQuarantined(
            f"Node {existing.id} is quarantined.", "An operator has to approve or revoke it first.", node=existing.id
        )
    if token.node_id is None and existing.public_key_sha256 != applicant.key_sha256:
        raise AlreadyExists(
            f"Another machine is node {existing.id}.",
            "Choose another name, or use a join token that is bound to this node id.",
            node=existing.id,
        )
