from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import NodeId, OperatorId
from control_plane.trust.authority import EmbeddedAuthority, Lifetimes
from tests.fakes.clock import FakeClock
from wire.credentials import CONTROL_PLANE_NAME, Role, csr_der, identity_of, new_key, spki_sha256

DAY = timedelta(hours=24)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def authority(tmp_path: Path, clock: FakeClock) -> EmbeddedAuthority:
    return EmbeddedAuthority.open(tmp_path, clock, Lifetimes())


def leaf_of(chain: tuple[bytes, ...]) -> x509.Certificate:
    return x509.load_der_x509_certificate(chain[0])


def usages(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def signed(key: object, name: str = "nodes/other") -> bytes:
    """A request that asks for a name."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    wish = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"arw://td/{name}"), x509.DNSName("evil")])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = builder.add_extension(wish, critical=False).sign(key, algorithm)  # type: ignore[arg-type]
    return bytes(request.public_bytes(serialization.Encoding.DER))


def test_the_authority_is_the_same_after_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    first = EmbeddedAuthority.open(tmp_path, clock, Lifetimes())
    again = EmbeddedAuthority.open(tmp_path, clock, Lifetimes())
    assert (again.trust_domain, again.pin) == (first.trust_domain, first.pin)
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600


def test_a_key_of_another_authority_is_noticed(tmp_path: Path, clock: FakeClock) -> None:
    EmbeddedAuthority.open(tmp_path, clock, Lifetimes())
    (tmp_path / "ca.key").unlink()
    with pytest.raises(ValueError, match="does not belong"):
        EmbeddedAuthority.open(tmp_path, clock, Lifetimes())


def test_every_name_in_a_request_is_ignored(authority: EmbeddedAuthority) -> None:
    leaf = leaf_of(authority.issue_node(signed(new_key()), NodeId("lab/n1")).chain)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(f"arw://{authority.trust_domain}/nodes/lab__n1")]
    assert not list(leaf.subject)
    assert identity_of(leaf).name == "lab/n1"


def test_a_node_certificate_lives_a_day_and_is_for_clients_only(authority: EmbeddedAuthority, clock: FakeClock) -> None:
    issued = authority.issue_node(csr_der(new_key()), NodeId("n1"))
    leaf = leaf_of(issued.chain)
    assert usages(leaf) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert leaf.not_valid_after_utc == issued.expire_time == clock.now() + DAY
    assert leaf.not_valid_before_utc == clock.now() - timedelta(seconds=60)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_an_operator_certificate_names_the_operator(authority: EmbeddedAuthority) -> None:
    leaf = leaf_of(authority.issue_operator(csr_der(new_key()), OperatorId("local")).chain)
    assert identity_of(leaf).role is Role.OPERATOR
    assert usages(leaf) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_only_the_control_plane_carries_its_dns_name(authority: EmbeddedAuthority) -> None:
    leaf = leaf_of(authority.issue_server(csr_der(new_key()), ["localhost", "127.0.0.1"]).chain)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [CONTROL_PLANE_NAME, "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert usages(leaf) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_the_chain_ends_with_the_authority_and_verifies(authority: EmbeddedAuthority, tmp_path: Path) -> None:
    issued = authority.issue_node(csr_der(new_key()), NodeId("n1"))
    (tmp_path / "other").mkdir()
    other = EmbeddedAuthority.open(tmp_path / "other", FakeClock(), Lifetimes())
    assert issued.chain[1:] == authority.trust_bundle()
    assert authority.vouches_for(leaf_of(issued.chain))
    assert not other.vouches_for(leaf_of(issued.chain))


@pytest.mark.parametrize(
    "make",
    [
        new_key,
        ed25519.Ed25519PrivateKey.generate,
        lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ],
)
def test_keys_of_the_accepted_kinds_are_signed(authority: EmbeddedAuthority, make: Callable[[], object]) -> None:
    key = make()
    issued = authority.issue_node(signed(key), NodeId("n1"))
    assert issued.public_key_sha256 == spki_sha256(leaf_of(issued.chain)) == authority.key_of(signed(key))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: rsa.generate_private_key(public_exponent=65537, key_size=1024),  # noqa: S505 - what must be refused
    ],
)
def test_other_keys_are_refused(authority: EmbeddedAuthority, make: Callable[[], object]) -> None:
    with pytest.raises(InvalidArgument, match="not of an accepted kind"):
        authority.issue_node(signed(make()), NodeId("n1"))


def test_a_request_with_a_changed_byte_is_refused(authority: EmbeddedAuthority) -> None:
    der = bytearray(signed(new_key()))
    der[-5] ^= 0xFF
    with pytest.raises(InvalidArgument):
        authority.issue_node(bytes(der), NodeId("n1"))


@pytest.mark.parametrize("der", [b"", b"garbage", b"\x30" * 20_000])
def test_what_is_no_request_is_refused(authority: EmbeddedAuthority, der: bytes) -> None:
    with pytest.raises(InvalidArgument):
        authority.key_of(der)
