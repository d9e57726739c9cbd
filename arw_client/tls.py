"""TLS as a client: the context's own CA and certificate, nothing that the system trusts."""

from __future__ import annotations

import ssl
import tempfile
from datetime import UTC, datetime

from arw_client.context import Context
from arw_client.errors import ContextError

CONTROL_PLANE_NAME = "control-plane.arw.internal"
"""Only the control plane's certificate carries this name, so no node can pose as it."""


def mutual(context: Context) -> ssl.SSLContext:
    """For gRPC: our certificate is shown, and h2 is agreed on."""
    settings = server_only(context)
    _load_identity(settings, context)
    settings.set_alpn_protocols(["h2"])
    return settings


def server_only(context: Context) -> ssl.SSLContext:
    """For HTTP beyond loopback: the bearer token says who we are."""
    settings = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    settings.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        settings.load_verify_locations(cadata=context.ca_pem)
    except ssl.SSLError as error:
        raise _unusable("CA certificate", error) from error
    return settings


def _load_identity(settings: ssl.SSLContext, context: Context) -> None:
    # OpenSSL reads keys from files only; this one is 0600 and gone at once.
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as identity:
        identity.write(f"{context.certificate_pem}\n{context.key_pem}\n")
        identity.flush()
        try:
            settings.load_cert_chain(identity.name)
        except ssl.SSLError as error:
            raise _unusable("certificate or key", error) from error


def _unusable(what: str, error: ssl.SSLError) -> ContextError:
    return ContextError(
        f"The {what} in the context file cannot be used: {error.reason or error}.",
        "Write a new one: remove the context file, then run `arwctl up`.",
    )


def expired_at(context: Context) -> datetime | None:
    """When our certificate ended; None while it is still good."""
    from cryptography import x509  # noqa: PLC0415 - only a failed call asks

    end = x509.load_pem_x509_certificate(context.certificate_pem.encode()).not_valid_after_utc
    return end if end < datetime.now(UTC) else None
