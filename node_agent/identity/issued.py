"""Looks at what a control plane issued before it is trusted and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from wire.credentials import certificate_pem, key_pem, spki_sha256


@dataclass(frozen=True, slots=True)
class Issued:
    key_pem: bytes = field(repr=False)
    chain_pem: bytes = field(repr=False)
    ca_pem: bytes = field(repr=False)
    expires: datetime


def issued_files(key: ec.EllipticCurvePrivateKey, chain: Sequence[bytes], bundle: Sequence[bytes]) -> Issued:
    """ValueError when the certificate is not for our key, or none of the bundle's CAs signed it."""
    if not chain or not bundle:
        raise ValueError("the control plane's answer holds no certificate")
    leaf = x509.load_der_x509_certificate(chain[0])
    if spki_sha256(leaf) != spki_sha256(key):
        raise ValueError("the control plane issued a certificate for another key")
    if not any(_signed(leaf, x509.load_der_x509_certificate(authority)) for authority in bundle):
        raise ValueError("the issued certificate is not signed by any CA that came with it")
    return Issued(key_pem(key), certificate_pem(chain), certificate_pem(bundle), leaf.not_valid_after_utc)


def _signed(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
