"""The first look at a control plane: whose key signs for it, before anything is sent to it."""

from __future__ import annotations

import socket

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

from node_agent.domain.errors import JoinFailed
from wire.credentials import pin

TIMEOUT_S = 10.0


def pinned_ca(host: str, port: int, expected_pin: str) -> bytes:
    """PEM of the CA in the chain that the server shows, when its key has the expected pin.

    JoinFailed otherwise. Blocks for at most some seconds. Only the handshake crosses the network: the caller then
    dials again with this CA as the only root, which proves that the server holds a key signed by it.
    """
    chain = _chain_of(host, port)
    found = [pin(certificate) for certificate in chain if _is_ca(certificate)]
    for certificate in chain:
        if _is_ca(certificate) and pin(certificate) == expected_pin:
            return certificate.public_bytes(serialization.Encoding.PEM)
    raise JoinFailed(
        f"The server at {host}:{port} is not the control plane that made this token: the token expects the key "
        f"{expected_pin}, the server shows {', '.join(found) or 'none'}. Nothing was sent to it.",
        "Check the address. If it is right, someone may be in between, or the control plane was set up anew, or its "
        "authority was rotated since: make a new token on it.",
        expected=expected_pin,
        found=", ".join(found),
    )


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _chain_of(host: str, port: int) -> list[x509.Certificate]:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    # Verification is the caller's comparison of pins; there is no root to verify against yet.
    context.set_verify(SSL.VERIFY_NONE)
    context.set_alpn_protos([b"h2"])
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S) as plain:
            plain.settimeout(None)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(TIMEOUT_S))
            return _handshake(SSL.Connection(context, plain))
    except OSError as error:
        raise JoinFailed(
            f"No control plane answers at {host}:{port} ({error.strerror or error}).",
            "Check the address and that the control plane runs; the enrolment port is 7444 unless configured.",
        ) from error
    except SSL.Error as error:
        raise JoinFailed(
            f"What answers at {host}:{port} does not speak TLS 1.3, so it is no control plane's enrolment port.",
            "Check the port; the enrolment port is 7444 unless configured.",
        ) from error


def _handshake(connection: SSL.Connection) -> list[x509.Certificate]:
    connection.set_connect_state()
    connection.do_handshake()
    chain = connection.get_peer_cert_chain() or []
    return [certificate.to_cryptography() for certificate in chain]


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return whole.to_bytes(8, "little") + int((seconds - whole) * 1_000_000).to_bytes(8, "little")
