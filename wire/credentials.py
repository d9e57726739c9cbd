"""Keys, certificates and the identities in them."""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

CONTROL_PLANE_NAME = "control-plane.arw.internal"
"""DNS name that only the control plane's certificate carries, so no node can pose as it."""


class Role(StrEnum):
    """The path segment of a certificate's URI."""

    NODE = "nodes"
    OPERATOR = "operators"
    CONTROL_PLANE = "control-plane"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a certificate speaks for: arw://<trust domain>/<role>/<name>."""

    trust_domain: str
    role: Role
    name: str

    @property
    def uri(self) -> str:
        return f"arw://{self.trust_domain}/{self.role}/{self.name.replace('/', '__')}"

    @classmethod
    def parse(cls, uri: str) -> Identity:
        """ValueError when it is no identity of this product."""
        parts = urlsplit(uri)
        role, _, name = parts.path.lstrip("/").partition("/")
        if parts.scheme != "arw" or not parts.netloc or not name:
            raise ValueError(f"{uri!r} names no node, operator or control plane")
        return cls(parts.netloc, Role(role), name.replace("__", "/"))


def identity_of(certificate: x509.Certificate) -> Identity:
    """The one identity in a certificate; ValueError when there is none or more than one."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise ValueError("the certificate names nobody") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise ValueError(f"the certificate names {len(uris)} identities, not one")
    return Identity.parse(uris[0])


def peer_certificate(context: grpc.aio.ServicerContext[Any, Any]) -> x509.Certificate | None:
    """The verified client certificate of a call; None on a socket without TLS."""
    pems = list(context.auth_context().get("x509_pem_cert", ()))
    return x509.load_pem_x509_certificate(pems[0]) if pems else None


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def csr_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A request that proves possession of the key and asks for no name: the signer writes its own."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_pem(chain_der: Sequence[bytes]) -> bytes:
    certificates = (x509.load_der_x509_certificate(der) for der in chain_der)
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def serial_hex(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"


def spki_sha256(holder: x509.Certificate | x509.CertificateSigningRequest | ec.EllipticCurvePrivateKey) -> str:
    """Lower-case hex SHA-256 of the public key's SubjectPublicKeyInfo."""
    return _spki_digest(holder).hex()


def key_id(authority: x509.Certificate | ec.EllipticCurvePrivateKey) -> str:
    """Of an authority's key: the lower-case hex by which what it signed names it."""
    return x509.SubjectKeyIdentifier.from_public_key(authority.public_key()).digest.hex()


def issuer_id(certificate: x509.Certificate) -> str:
    """`key_id` of the authority that signed it; empty when it does not say."""
    try:
        named = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return ""
    return named.hex() if named else ""


def signed(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether the authority signed it; says nothing of its dates."""
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def bundle_digest(bundle_der: Iterable[bytes]) -> str:
    """Lower-case hex SHA-256 of whom somebody trusts, in whatever order."""
    return hashlib.sha256(b"".join(sorted(bundle_der))).hexdigest()


def pin(certificate: x509.Certificate) -> str:
    """The same digest in lower-case base32 without padding: short enough to paste."""
    return base64.b32encode(_spki_digest(certificate)).decode().rstrip("=").lower()


def _spki_digest(holder: x509.Certificate | x509.CertificateSigningRequest | ec.EllipticCurvePrivateKey) -> bytes:
    spki = holder.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


def server_context(chain: Path, key: Path, ca: Path, require_client: bool) -> ssl.SSLContext:
    """TLS 1.3 for a listener; with `require_client` only certificates of our own CA may enter."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(chain, key)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_NONE
    return context


class TurningContext:
    """A listener's TLS that can be exchanged while it listens: whom a context trusts can only grow."""

    def __init__(self, make: Callable[[], ssl.SSLContext]) -> None:
        self._make = make
        self.outer = make()
        # A resumed session would be trusted for what was shown when it began.
        self.outer.num_tickets = 0
        self._current = self.outer
        self.outer.sni_callback = self._chosen

    def turn(self) -> None:
        """Handshakes from now on go by a fresh one."""
        self._current = self._make()

    def _chosen(self, connection: Any, _name: str | None, _outer: ssl.SSLContext) -> None:
        connection.context = self._current


def client_context(certificate: Path, key: Path, ca: Path) -> ssl.SSLContext:
    """TLS 1.3 towards a control plane; call with server_hostname=CONTROL_PLANE_NAME."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(ca)
    return context
