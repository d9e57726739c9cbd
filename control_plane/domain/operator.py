from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.ids import OperatorId


@dataclass(frozen=True, slots=True)
class Operator:
    """A person or program that may ask for changes."""

    id: OperatorId
    name: str
    token_sha256: str
    """Of the secret part of the bearer token; empty: it has none."""
    create_time: datetime
    certificate_serial: str = ""
    """Lower-case hex of the client certificate; empty: it has none."""
    revoked: bool = False
    issuer: str = ""
    """Id of the authority that signed the certificate; empty: as with NodeTrust."""
    former_serials: tuple[str, ...] = ()
    """Of certificates that were renewed, the newest first. They count until they end, for copies of the context."""
