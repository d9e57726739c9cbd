"""Keeps a context file in line with the authorities of its control plane: whom to trust, and a certificate of its own.

The control plane says on each call, in its first metadata, whom it trusts and who signs. Where that is not what the
file was brought in line with last, the file is written anew.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arw_client import messages as m
from arw_client.context import Context
from arw_client.errors import ArwError

if TYPE_CHECKING:
    from arw_client.client import Client

METADATA = "arw-trust"
"""Digest of all that are trusted, and after a dot the id of the one that signs."""


def hint(metadata: Mapping[str, Any]) -> str:
    said = metadata.get(METADATA, "")
    return said if isinstance(said, str) else ""


async def follow(client: Client, path: Path) -> None:
    """Write the file anew when it is behind. What fails is left for the next call: it costs nobody this one."""
    told = client.trust_hint
    if not told or told == client.context.trust:
        return
    try:
        context = Context.load(path)
        if context.trust_domain == client.context.trust_domain and context.trust != told:
            _save(path, dataclasses.replace(await _renewed(client, context, told), trust=told))
    except (ArwError, OSError, ValueError):
        return


async def _renewed(client: Client, context: Context, told: str) -> Context:
    from cryptography import x509  # noqa: PLC0415 - few calls need it

    leaf = x509.load_pem_x509_certificates(context.certificate_pem.encode())[0]
    named = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    key, csr = ("", b"") if named and told.endswith(f".{named.hex()}") else _request()
    request = m.RenewOperatorCertificateRequest(csr=csr)
    answer = await client.authorities.renew_operator_certificate(request)
    told_context = dataclasses.replace(context, ca_pem=_pem(answer.trust_bundle))
    if not csr:
        return told_context
    return dataclasses.replace(told_context, certificate_pem=_pem(answer.certificate_chain), key_pem=key)


def _request() -> tuple[str, bytes]:
    """A new key in PEM, and a request that proves it and asks for no name."""
    from cryptography import x509  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - as above

    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
    return pem, request.public_bytes(serialization.Encoding.DER)


def _pem(certificates: list[bytes]) -> str:
    import ssl  # noqa: PLC0415 - as above

    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in certificates)


def _save(path: Path, context: Context) -> None:
    """Whole or not at all, for its owner alone; what of the file this version does not know stays."""
    known = json.loads(path.read_bytes())
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    scratch = Path(name)
    try:
        with os.fdopen(handle, "w") as file:
            json.dump({**known, **dataclasses.asdict(context)}, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
