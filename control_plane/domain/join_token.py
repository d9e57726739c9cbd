from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from control_plane.domain.ids import NodeId, TokenId

DEFAULT_TTL = timedelta(minutes=15)
MAX_TTL = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class JoinToken:
    id: TokenId
    secret_sha256: str
    create_time: datetime
    expire_time: datetime
    node_id: NodeId | None = None
    labels: dict[str, str] = field(default_factory=dict)
    requires_approval: bool = False
    use_time: datetime | None = None
    used_by: NodeId | None = None
    used_key_sha256: str = ""
    """Of the CSR's public key, so that the same agent may repeat its call."""
