"""A certificate authority whose certificates live as long as a test wants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from node_agent.identity.files import NodeIdentity
from wire.credentials import CONTROL_PLANE_NAME, Identity, Role, key_pem, new_key, pin

DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Issuer:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    identity: NodeIdentity

    @classmethod
    def make(cls) -> Self:
        key = new_key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - DAY).not_valid_after(now + 365 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return cls(
            key, builder.sign(key, hashes.SHA256()), NodeIdentity("n1", "td", "127.0.0.1:1", "127.0.0.1:2", "i1")
        )

    @property
    def ca_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def ca_der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pin(self) -> str:
        return pin(self.certificate)

    def node(self, name: str, start: datetime | None = None, life: timedelta = DAY) -> tuple[bytes, bytes]:
        """(key, chain) in PEM."""
        key = new_key()
        uri = x509.UniformResourceIdentifier(Identity("td", Role.NODE, name).uri)
        leaf = self.leaf(key.public_key(), [uri], start, life)
        return key_pem(key), leaf.public_bytes(serialization.Encoding.PEM) + self.ca_pem

    def server(self) -> tuple[bytes, bytes]:
        key = new_key()
        leaf = self.leaf(key.public_key(), [x509.DNSName(CONTROL_PLANE_NAME)])
        return key_pem(key), leaf.public_bytes(serialization.Encoding.PEM) + self.ca_pem

    def leaf(
        self,
        public_key: ec.EllipticCurvePublicKey,
        names: list[x509.GeneralName],
        start: datetime | None = None,
        life: timedelta = DAY,
    ) -> x509.Certificate:
        begin = start or datetime.now(UTC) - timedelta(seconds=60)
        builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(self.certificate.subject)
        builder = builder.public_key(public_key).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(begin).not_valid_after(begin + life)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        return builder.sign(self.key, hashes.SHA256())
