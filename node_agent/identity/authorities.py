"""Whom this node trusts: looked at before it is stored, so that no word of a stranger locks it out."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from node_agent.domain.trust import TrustBundle
from node_agent.identity.files import IdentityFiles
from wire.credentials import bundle_digest, certificate_pem, signed

MOST = 8


def stored_digest(files: IdentityFiles) -> bytes:
    """SHA-256 of those that are stored."""
    return bytes.fromhex(bundle_digest(_stored(files)))


def store(files: IdentityFiles, bundle: TrustBundle) -> None:
    """From the next connection on these count, and no others. ValueError says why not; OSError."""
    if set(bundle.certificates) == set(_stored(files)):
        return
    _check(files, bundle.certificates)
    files.write_ca(certificate_pem(bundle.certificates))


def _check(files: IdentityFiles, told: Sequence[bytes]) -> None:
    if not 0 < len(told) <= MOST:
        raise ValueError(f"it names {len(told)} authorities")
    authorities = [x509.load_der_x509_certificate(der) for der in told]
    domain = f"arw://{files.identity().trust_domain}"
    if any(_domain(one) != domain for one in authorities):
        raise ValueError("it names an authority of another control plane")
    if not set(told) & set(_stored(files)):
        raise ValueError("it leaves out every authority that is trusted here")
    if not any(signed(files.current().leaf, one) for one in authorities):
        raise ValueError("it leaves out the authority that signed this node's certificate")


def _stored(files: IdentityFiles) -> list[bytes]:
    return [_der(one) for one in x509.load_pem_x509_certificates(files.ca_pem)]


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _domain(authority: x509.Certificate) -> str:
    """Empty when it is no authority of ours."""
    try:
        is_ca = authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        names = authority.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if is_ca and uris else ""
