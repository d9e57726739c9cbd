from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from wire.credentials import Identity, Role, csr_der, identity_of, new_key, pin, spki_sha256


def certificate(*uris: str) -> x509.Certificate:
    key = new_key()
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(hours=1))
    )
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=True)
    return builder.sign(key, hashes.SHA256())


def test_an_identity_survives_its_uri() -> None:
    identity = Identity("4f1c", Role.NODE, "lab/gpu-1")
    assert Identity.parse(identity.uri) == identity
    assert identity_of(certificate(identity.uri)) == identity


@pytest.mark.parametrize(
    "uris",
    [(), ("arw://a/nodes/x", "arw://a/nodes/y"), ("https://a/nodes/x",), ("arw://a/kings/x",), ("arw://a/nodes/",)],
)
def test_a_certificate_that_names_nobody_or_many_is_no_identity(uris: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="names|kings"):
        identity_of(certificate(*uris))


def test_pin_and_digest_follow_the_key() -> None:
    one, other = certificate("arw://a/nodes/x"), certificate("arw://a/nodes/x")
    assert pin(one) != pin(other)
    assert len(spki_sha256(one)) == 64


def test_a_request_for_a_certificate_asks_for_no_name() -> None:
    request = x509.load_der_x509_csr(csr_der(new_key()))
    assert request.is_signature_valid
    assert not list(request.subject)
