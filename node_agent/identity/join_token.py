"""The text an operator pastes: "{id}.{secret}.{pin}"."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Self

from node_agent.domain.errors import JoinFailed

_PARTS = 3
_WORD = re.compile(r"[0-9a-z]+")
_PIN = re.compile(r"[a-z2-7]{52}")
_REMEDY = "Copy the whole text that `arwctl nodes token create` printed: three parts with dots between."


@dataclass(frozen=True, slots=True)
class JoinToken:
    id: str
    secret: str = field(repr=False)
    pin: str
    """Lower-case base32 of the SHA-256 of the CA's public key: whom to trust at first contact."""

    @property
    def bearer(self) -> str:
        """What the control plane gets to see."""
        return f"{self.id}.{self.secret}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """JoinFailed says what is wrong and never repeats the secret. White space anywhere is ignored."""
        parts = "".join(text.split()).lower().split(".")
        if parts == [""]:
            raise JoinFailed("The join token is empty.", _REMEDY)
        if len(parts) != _PARTS:
            raise JoinFailed(f"The join token has {len(parts)} parts where three are needed.", _REMEDY)
        token, secret, pin = parts
        if not _WORD.fullmatch(token):
            raise JoinFailed("The first part of the join token, its id, is no word of letters and digits.", _REMEDY)
        if not _WORD.fullmatch(secret):
            raise JoinFailed("The second part of the join token, the secret, is cut short or damaged.", _REMEDY)
        if not _PIN.fullmatch(pin):
            raise JoinFailed(
                f"The third part of the join token, the pin, has {len(pin)} characters; "
                "it must be 52 letters and digits.",
                _REMEDY,
            )
        return cls(token, secret, pin)
