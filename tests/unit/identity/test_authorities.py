"""Whom a node trusts: what it takes, what it does not, and when it renews."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from control_plane.domain.ids import NodeId
from control_plane.trust.authority import EmbeddedAuthority, Lifetimes, self_signed
from node_agent.domain.trust import TrustBundle
from node_agent.identity.authorities import store, stored_digest
from node_agent.identity.credentials import NodeCredentials
from node_agent.identity.files import IdentityFiles, NodeIdentity
from tests.fakes.clock import FakeClock
from wire.credentials import bundle_digest, certificate_pem, csr_der, key_id, key_pem, new_key

CLOCK = FakeClock(datetime.now(UTC))


class Joined:
    """A node that trusts one authority, which signed for it."""

    def __init__(self, folder: Path) -> None:
        key = new_key()
        self.first = EmbeddedAuthority(key, self_signed(key, CLOCK.now(), Lifetimes()), CLOCK, Lifetimes())
        self.second = self.successor()
        self.files = IdentityFiles(folder)
        own = new_key()
        issued = self.first.issue_node(csr_der(own), NodeId("n1"))
        identity = NodeIdentity("n1", self.first.trust_domain, "a:1", "a:2", "i")
        self.files.write(identity, key_pem(own), certificate_pem(issued.chain), certificate_pem(bundle(self.first)))

    def successor(self) -> EmbeddedAuthority:
        return EmbeddedAuthority(*self.first.successor(), CLOCK, Lifetimes())


def bundle(*authorities: EmbeddedAuthority) -> tuple[bytes, ...]:
    return tuple(one.certificate.public_bytes(Encoding.DER) for one in authorities)


@pytest.fixture
def node(tmp_path: Path) -> Joined:
    return Joined(tmp_path)


def test_what_is_stored_is_what_its_digest_says(node: Joined) -> None:
    told = bundle(node.second, node.first)
    store(node.files, TrustBundle(told))
    assert stored_digest(node.files).hex() == bundle_digest(told) == bundle_digest(reversed(told))


def test_the_authority_that_signed_for_it_is_never_lost(node: Joined) -> None:
    store(node.files, TrustBundle(bundle(node.first, node.second)))
    with pytest.raises(ValueError, match="signed this node's certificate"):
        store(node.files, TrustBundle(bundle(node.second)))
    assert len(x509.load_pem_x509_certificates(node.files.ca_pem)) == 2


def test_a_bundle_that_has_nothing_to_do_with_this_control_plane_is_not_taken(node: Joined) -> None:
    key = new_key()
    strange = EmbeddedAuthority(key, self_signed(key, CLOCK.now(), Lifetimes()), CLOCK, Lifetimes())
    leaf = node.first.issue_node(csr_der(new_key()), NodeId("n1")).chain[0]
    for told in ((), bundle(node.second), bundle(node.first, strange), (*bundle(node.first), leaf), (b"noise",)):
        with pytest.raises(ValueError, match=r"it names|it leaves out|parsing"):
            store(node.files, TrustBundle(told))
    assert node.files.ca_pem == certificate_pem(bundle(node.first))


def test_what_a_tainted_authority_signed_is_renewed_within_the_time_told(node: Joined) -> None:
    credentials, woken = NodeCredentials(node.files, CLOCK.now, lambda: 0.5), []
    credentials.on_tainted(lambda: woken.append(credentials.renew_at))
    both, within = bundle(node.first, node.second), timedelta(minutes=4)
    credentials.trust(TrustBundle(both, (key_id(node.second.certificate),), within))
    assert credentials.renew_at is None
    credentials.trust(TrustBundle(both, (key_id(node.first.certificate),), within))
    due = CLOCK.now() + within / 2
    assert credentials.renew_at == due
    CLOCK.time += timedelta(minutes=1)
    credentials.trust(TrustBundle(both, (key_id(node.first.certificate),), within))
    assert credentials.renew_at == due, "told again, it is no later"
    assert woken == [due, due]


def test_a_bundle_that_is_not_taken_is_told_apart_by_the_digest(node: Joined) -> None:
    credentials = NodeCredentials(node.files, CLOCK.now)
    before = credentials.trusted()
    credentials.trust(TrustBundle(bundle(node.second)))
    assert credentials.trusted() == before
