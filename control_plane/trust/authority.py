"""The embedded certificate authority: one key, one trust domain, short certificates."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from control_plane.domain.ids import AuthorityId, NodeId, OperatorId
from control_plane.trust import sealing
from control_plane.trust.key_file import load_or_make_key
from control_plane.trust.signing_request import checked_key, checked_request
from control_plane.use_cases.ports import Clock, IssuedCertificate
from wire.atomic_file import write_atomically
from wire.credentials import (
    CONTROL_PLANE_NAME,
    Identity,
    Role,
    bundle_digest,
    key_id,
    key_pem,
    new_key,
    pin,
    serial_hex,
    signed,
    spki_sha256,
)

_DER = serialization.Encoding.DER


@dataclass(frozen=True, slots=True)
class Lifetimes:
    node: timedelta = timedelta(hours=24)
    operator: timedelta = timedelta(days=90)
    server: timedelta = timedelta(days=7)
    authority: timedelta = timedelta(days=3650)
    backdate: timedelta = timedelta(seconds=60)
    """Start of validity before now, for peers whose clocks run behind."""


class EmbeddedAuthority:
    """Signs for nodes, operators and the control plane itself. Every name in a certificate is its own words."""

    def __init__(
        self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, clock: Clock, lifetimes: Lifetimes
    ) -> None:
        self._key = key
        self._clock = clock
        self._lifetimes = lifetimes
        self.certificate = certificate
        """Of the key that signs."""
        self.trust_domain = trust_domain_of(certificate)
        self._others: tuple[x509.Certificate, ...] = ()

    @classmethod
    def open(cls, directory: Path, clock: Clock, lifetimes: Lifetimes) -> Self:
        """Load ca.key and ca.pem, or make them at first start. ValueError when they do not belong together."""
        key = load_or_make_key(directory / "ca.key")
        path = directory / "ca.pem"
        if not path.exists():
            certificate = self_signed(key, clock.now(), lifetimes)
            write_atomically(path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        authority = cls(key, x509.load_pem_x509_certificates(path.read_bytes())[0], clock, lifetimes)
        if spki_sha256(authority.certificate) != spki_sha256(key):
            raise ValueError(f"{path} does not belong to {directory / 'ca.key'}")
        return authority

    @property
    def pin(self) -> str:
        """Of the CA key, as a join token carries it."""
        return pin(self.certificate)

    @property
    def id(self) -> AuthorityId:
        """Of the key that signs."""
        return AuthorityId(key_id(self.certificate))

    def turn(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        """Sign with this key from now on."""
        self._key, self.certificate = key, certificate

    def trust(self, others: Iterable[x509.Certificate]) -> None:
        """These count beside the one that signs."""
        self._others = tuple(others)

    def successor(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        """A new key for the same trust domain."""
        key = new_key()
        return key, self_signed(key, self._clock.now(), self._lifetimes, self.trust_domain)

    def sealed(self, secret: bytes) -> bytes:
        """Its key, for those who know the secret."""
        return sealing.sealed(self._key, self.certificate, secret)

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        return self._key

    def key_pem(self) -> bytes:
        """For a backup; in clear."""
        return key_pem(self._key)

    def trust_bundle(self) -> tuple[bytes, ...]:
        """Of the one that signs first."""
        return tuple(one.public_bytes(_DER) for one in (self.certificate, *self._others))

    @property
    def bundle_digest(self) -> str:
        return bundle_digest(self.trust_bundle())

    @property
    def hint(self) -> str:
        """For clients: what `trust_bundle` holds, and who signs."""
        return f"{self.bundle_digest}.{self.id}"

    def key_of(self, csr_der: bytes) -> str:
        return spki_sha256(checked_request(csr_der))

    def issue_node(self, csr_der: bytes, node: NodeId) -> IssuedCertificate:
        identity = Identity(self.trust_domain, Role.NODE, node)
        return self._issue(csr_der, [_uri(identity)], ExtendedKeyUsageOID.CLIENT_AUTH, self._lifetimes.node)

    def issue_operator(self, csr_der: bytes, operator: OperatorId) -> IssuedCertificate:
        identity = Identity(self.trust_domain, Role.OPERATOR, operator)
        return self._issue(csr_der, [_uri(identity)], ExtendedKeyUsageOID.CLIENT_AUTH, self._lifetimes.operator)

    def issue_server(self, csr_der: bytes, hosts: Sequence[str]) -> IssuedCertificate:
        """For the control plane's own listeners; `hosts` are names or addresses that people dial."""
        identity = Identity(self.trust_domain, Role.CONTROL_PLANE, "main")
        names = [x509.DNSName(CONTROL_PLANE_NAME), *(_host(host) for host in hosts), _uri(identity)]
        return self._issue(csr_der, names, ExtendedKeyUsageOID.SERVER_AUTH, self._lifetimes.server)

    def vouches_for(self, certificate: x509.Certificate) -> bool:
        """Whether one that is trusted signed it; says nothing of its dates."""
        return any(signed(certificate, one) for one in (self.certificate, *self._others))

    def signed(self, certificate: x509.Certificate) -> bool:
        """Whether the key that signs now signed it."""
        return signed(certificate, self.certificate)

    def _issue(
        self, csr_der: bytes, names: Sequence[x509.GeneralName], usage: x509.ObjectIdentifier, life: timedelta
    ) -> IssuedCertificate:
        request = checked_request(csr_der)
        leaf = self._leaf(request, names, usage, self._clock.now(), life)
        return IssuedCertificate(
            chain=(leaf.public_bytes(_DER), self.certificate.public_bytes(_DER)),
            serial=serial_hex(leaf),
            expire_time=leaf.not_valid_after_utc,
            public_key_sha256=spki_sha256(request),
            issuer=self.id,
        )

    def _leaf(
        self,
        request: x509.CertificateSigningRequest,
        names: Sequence[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        now: datetime,
        life: timedelta,
    ) -> x509.Certificate:
        key = checked_key(request)
        builder = _dated(now, life, self._lifetimes.backdate).subject_name(x509.Name([])).public_key(key)
        builder = builder.issuer_name(self.certificate.subject)
        # The subject is empty, so the standard wants the names marked critical.
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(own, critical=False).sign(self._key, hashes.SHA256())


def self_signed(
    key: ec.EllipticCurvePrivateKey, now: datetime, lifetimes: Lifetimes, trust_domain: str = ""
) -> x509.Certificate:
    """Of an authority; without a trust domain, the first one of a new domain."""
    is_first, trust_domain = not trust_domain, trust_domain or str(uuid.uuid4())
    # A name of its own for each: who verifies looks for an issuer by its name.
    mark = "" if is_first else f" {spki_sha256(key)[:8]}"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"ARW {trust_domain}{mark}")])
    builder = _dated(now, lifetimes.authority, lifetimes.backdate).subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key())
    own_uri = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"arw://{trust_domain}")])
    builder = builder.add_extension(own_uri, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return builder.add_extension(own, critical=False).sign(key, hashes.SHA256())


def _dated(now: datetime, life: timedelta, backdate: timedelta) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - backdate).not_valid_after(now + life)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _uri(identity: Identity) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(identity.uri)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def trust_domain_of(certificate: x509.Certificate) -> str:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)[0].removeprefix("arw://")
