from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from control_plane.domain import etag, secret
from control_plane.domain.authority import NodeTrust
from control_plane.domain.enrolment import Applicant, enrolled, named
from control_plane.domain.errors import TokenExpired, TokenInvalid, TokenUsed
from control_plane.domain.ids import NodeId, TokenId, checked
from control_plane.domain.join_token import JoinToken
from control_plane.domain.node import Liveness, Node, Standing
from control_plane.domain.node_view import NodeView
from control_plane.use_cases import announcements
from control_plane.use_cases.ports import (
    CertificateAuthority,
    Clock,
    IssuedCertificate,
    Randomness,
    Store,
    Transaction,
)

POLL_AFTER = timedelta(seconds=5)
_NO_HASH = secret.hashed("")


@dataclass(frozen=True, slots=True)
class Enrolment:
    node: NodeId
    certificate: IssuedCertificate | None
    """None while an operator has to approve."""
    poll_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class EnrollNode:
    """Redeem a join token for a certificate. The same token and key may ask again.

    TokenInvalid, TokenUsed, TokenExpired; InvalidArgument for the request; InvalidId for the wish; AlreadyExists
    when another machine has the id; NodeQuarantined.
    """

    store: Store
    clock: Clock
    randomness: Randomness
    authority: CertificateAuthority

    async def __call__(
        self, token_text: str, csr_der: bytes, *, machine_id_hash: str = "", wish: str = ""
    ) -> Enrolment:
        if wish:
            checked(wish, "node")
        applicant = Applicant(self.authority.key_of(csr_der), machine_id_hash, wish, self.randomness.uid())
        return await self.store.write(lambda tx: self._enrolled(tx, token_text, csr_der, applicant))

    def _enrolled(self, tx: Transaction, token_text: str, csr_der: bytes, applicant: Applicant) -> Enrolment:
        now = self.clock.now()
        token = _proven(tx, token_text)
        enter = _redeemed if token.use_time is None else _again
        node = enter(tx, token, applicant, now)
        if node.standing is Standing.WAITING_FOR_APPROVAL:
            return Enrolment(node.id, None, POLL_AFTER)
        return self._certified(tx, node, csr_der)

    def _certified(self, tx: Transaction, node: Node, csr_der: bytes) -> Enrolment:
        """The new certificate is the only one from now on."""
        issued = self.authority.issue_node(csr_der, node.id)
        tx.nodes.put(
            replace(
                node,
                certificate_serial=issued.serial,
                pending_serial="",
                certificate_expire_time=issued.expire_time,
                newer_certificate_believed=False,
                public_key_sha256=issued.public_key_sha256,
                trust=NodeTrust(issued.issuer, "", self.authority.bundle_digest),
            )
        )
        return Enrolment(node.id, issued)


def _proven(tx: Transaction, text: str) -> JoinToken:
    """The token whose secret the caller knows. An unknown id costs the same time and says the same."""
    token_id, given = secret.parted(text) or ("", "")
    token = tx.join_tokens.get(TokenId(token_id))
    if not secret.matches(given, token.secret_sha256 if token else _NO_HASH) or token is None:
        raise TokenInvalid("The join token is not valid.", "Check that it is whole, or ask for a new one.")
    return token


def _redeemed(tx: Transaction, token: JoinToken, applicant: Applicant, now: datetime) -> Node:
    if token.expire_time <= now:
        raise _expired(token)
    name = named(token, applicant)
    node = enrolled(tx.nodes.get(name), token, applicant, name, now)
    if not tx.redeem(token.id, now, name, applicant.key_sha256):
        raise _used(token)
    node = replace(node, etag=etag.of_node(node))
    tx.nodes.put(node)
    tx.journal.append(announcements.node_changed(NodeView(node, Liveness(online=False)), now, cause="enrolled"))
    return node


def _again(tx: Transaction, token: JoinToken, applicant: Applicant, now: datetime) -> Node:
    """A repeat by the same key: while the token lives, and after that until the node has first connected."""
    node = tx.nodes.get(token.used_by) if token.used_by else None
    same = node and token.used_key_sha256 == node.public_key_sha256 == applicant.key_sha256
    if node is None or not same or node.standing not in (Standing.ADMITTED, Standing.WAITING_FOR_APPROVAL):
        raise _used(token)
    if token.expire_time <= now and node.session_epoch:
        raise _expired(token)
    return node


def _used(token: JoinToken) -> TokenUsed:
    return TokenUsed("The join token was used already.", "Ask for a new one; each lets one machine in.", token=token.id)


def _expired(token: JoinToken) -> TokenExpired:
    ended = announcements.stamp(token.expire_time)
    return TokenExpired(f"The join token expired at {ended}.", "Ask for a new one.", token=token.id, expire_time=ended)
