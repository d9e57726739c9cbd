"""The authority's key as it may lie where others look: sealed by a secret that is not there.

Version 1: the byte 1, 16 bytes of salt, 12 of nonce, then the key (PKCS#8 in DER) by AES-256-GCM, whose own key is made
of the secret by scrypt. Version and certificate of the authority are bound to it, so that neither can be exchanged.
"""

from __future__ import annotations

import secrets

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from control_plane.domain.errors import InvalidArgument, StorageUnavailable
from wire.credentials import spki_sha256

VERSION = b"\x01"
SALT_BYTES = 16
NONCE_BYTES = 12
_SHORTEST = len(VERSION) + SALT_BYTES + NONCE_BYTES + 17
_DER = serialization.Encoding.DER
# 16 MiB and a tenth of a second for each guess, should somebody take a sentence for a secret.
_COST, _BLOCK, _PARALLEL = 2**14, 8, 1
SEAL_AGAIN = "Seal it again where ca.key lies: arw-control-plane seal --authority-secret-file FILE"


def sealed(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, secret: bytes) -> bytes:
    """Another envelope each time."""
    salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES)
    plain = key.private_bytes(_DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return VERSION + salt + nonce + _cipher(secret, salt).encrypt(nonce, plain, _bound(certificate))


def unsealed(envelope: bytes, certificate: x509.Certificate, secret: bytes) -> ec.EllipticCurvePrivateKey:
    """The certificate's key. InvalidArgument: not by this secret. StorageUnavailable: the envelope is no good."""
    _check(envelope)
    salt, rest = envelope[1 : 1 + SALT_BYTES], envelope[1 + SALT_BYTES :]
    try:
        plain = _cipher(secret, salt).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], _bound(certificate))
    except InvalidTag:
        raise InvalidArgument(
            "The secret does not open the key of the authority that the database keeps: it is another secret than the "
            "one that sealed it, or what the database keeps was changed.",
            f"Name the file with the secret that the other replicas have. {SEAL_AGAIN}",
        ) from None
    return _key(plain, certificate)


def _check(envelope: bytes) -> None:
    if envelope[:1] > VERSION:
        raise StorageUnavailable(
            "A newer version of ARW sealed the key of the authority that the database keeps.",
            "Start this replica with that version.",
        )
    if envelope[:1] != VERSION or len(envelope) < _SHORTEST:
        raise StorageUnavailable("The sealed key of the authority in the database is damaged.", SEAL_AGAIN)


def _key(plain: bytes, certificate: x509.Certificate) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_der_private_key(plain, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or spki_sha256(key) != spki_sha256(certificate):
        raise StorageUnavailable("What the database keeps sealed is not the key of its authority.", SEAL_AGAIN)
    return key


def _bound(certificate: x509.Certificate) -> bytes:
    return VERSION + certificate.public_bytes(_DER)


def _cipher(secret: bytes, salt: bytes) -> AESGCM:
    return AESGCM(Scrypt(salt=salt, length=32, n=_COST, r=_BLOCK, p=_PARALLEL).derive(secret))
