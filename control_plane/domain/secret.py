"""Bearer secrets, "{id}.{secret}": shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import hmac

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_BYTES = 5
SECRET_BYTES = 20


def crockford(data: bytes) -> str:
    """Crockford base32, lower-case, most significant first; 8 characters for 5 bytes."""
    length = -(-len(data) * 8 // 5)
    number = int.from_bytes(data, "big")
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(length)))


def hashed(secret: str) -> str:
    """SHA-256, lower-case hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(secret: str, sha256: str) -> bool:
    """In constant time. An empty hash matches nothing."""
    return hmac.compare_digest(hashed(secret), sha256)


def parted(text: str) -> tuple[str, str] | None:
    """(id, secret), or None when the text has not that form."""
    token, _, secret = text.strip().partition(".")
    return (token, secret) if token and secret and "." not in secret else None
