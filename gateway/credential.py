"""What a request says of who sends it, and under which claim."""

from __future__ import annotations

from dataclasses import dataclass

from wire.http_head import Request

CLAIM_HEADER = b"x-arw-claim"
CLAIM_IN_KEY = "~"
"""No key has one in it: KEY~CLAIM is for clients that send a key and nothing else of ours."""
_NAMES = "claims/"


@dataclass(frozen=True, slots=True)
class Credential:
    authorization: str | None
    """Without the claim."""
    claim: str = ""
    """Empty: none is named."""


def credential_of(request: Request) -> Credential:
    """Anthropic's clients send the key by itself. The header wins over what the key says."""
    authorization = request.header(b"authorization")
    if authorization is None and (key := request.header(b"x-api-key")):
        authorization = b"Bearer " + key
    named = (request.header(CLAIM_HEADER) or b"").decode("latin-1")
    if not authorization:
        return Credential(None, named)
    sent, _, claim = authorization.decode("latin-1").partition(CLAIM_IN_KEY)
    return Credential(sent, (named or claim).strip().removeprefix(_NAMES))
