"""Page tokens that nobody outside can make, read or carry from one list to another."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

from control_plane.domain.errors import PageTokenInvalid

_TAG_BYTES = 16


class PageTokens:
    """Seals the inner tokens of the use cases; the key lives and dies with the process."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)

    def seal(self, method: str, caller: str, inner: str) -> str:
        """Empty stays empty: there is no next page."""
        if not inner:
            return ""
        sealed = self._tag(method, caller, inner) + inner.encode()
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open(self, method: str, caller: str, token: str) -> str:
        """The inner token; PageTokenInvalid for one of another list, caller or process."""
        if not token:
            return ""
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars="-_", validate=True)
            tag, inner = sealed[:_TAG_BYTES], sealed[_TAG_BYTES:].decode()
        except (binascii.Error, ValueError):
            tag, inner = b"", ""
        if not hmac.compare_digest(tag, self._tag(method, caller, inner)):
            raise PageTokenInvalid("This page token is not one of this list.", "Begin again without a page token.")
        return inner

    def _tag(self, method: str, caller: str, inner: str) -> bytes:
        text = f"{method}\x00{caller}\x00{inner}".encode()
        return hmac.new(self._key, text, hashlib.sha256).digest()[:_TAG_BYTES]
