"""What a certificate signing request must prove before a certificate is made from it."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from control_plane.domain.errors import InvalidArgument

MIN_RSA_BITS = 2048
MAX_REQUEST_BYTES = 16 * 1024
_REMEDY = "Send a PKCS#10 request in DER, signed by its own P-256, Ed25519 or RSA key of at least 2048 bits."

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


def checked_request(csr_der: bytes) -> x509.CertificateSigningRequest:
    """The request when its signature holds and its key is strong enough; InvalidArgument otherwise."""
    request = _parsed(csr_der)
    checked_key(request)
    if not _signature_holds(request):
        raise InvalidArgument("The certificate request is not signed by its own key.", _REMEDY)
    return request


def checked_key(request: x509.CertificateSigningRequest) -> PublicKey:
    """The public key of the request; InvalidArgument when its kind or size is not accepted."""
    try:
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidArgument("The key in the certificate request cannot be read.", _REMEDY) from None
    if not _strong_enough(key):
        raise InvalidArgument("The key in the certificate request is not of an accepted kind.", _REMEDY)
    return key  # type: ignore[return-value]  # _strong_enough admits these kinds only


def _parsed(csr_der: bytes) -> x509.CertificateSigningRequest:
    if len(csr_der) > MAX_REQUEST_BYTES:
        raise InvalidArgument(f"The certificate request is larger than {MAX_REQUEST_BYTES} bytes.", _REMEDY)
    try:
        return x509.load_der_x509_csr(csr_der)
    except ValueError:
        raise InvalidArgument("The certificate request cannot be read.", _REMEDY) from None


def _signature_holds(request: x509.CertificateSigningRequest) -> bool:
    try:
        return request.is_signature_valid
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False


def _strong_enough(key: object) -> bool:
    match key:
        case ec.EllipticCurvePublicKey():
            return isinstance(key.curve, ec.SECP256R1)
        case rsa.RSAPublicKey():
            return key.key_size >= MIN_RSA_BITS
        case _:
            return isinstance(key, ed25519.Ed25519PublicKey)
