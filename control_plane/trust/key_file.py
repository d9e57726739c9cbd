from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from wire.atomic_file import write_atomically
from wire.credentials import key_pem, new_key


def load_or_make_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The P-256 key in the file (mode 0600), made when there is none. ValueError when the file holds no such key."""
    if not path.exists():
        write_atomically(path, key_pem(new_key()), 0o600)
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} holds no elliptic-curve key")  # noqa: TRY004 - the file's content is at fault
    return key
