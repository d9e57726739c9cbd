from __future__ import annotations

import secrets
import uuid


class SystemRandomness:
    """The operating system's."""

    def uid(self) -> str:
        return str(uuid.uuid4())

    def secret(self, length: int) -> bytes:
        return secrets.token_bytes(length)
