"""What both sides hash to see whether they hold the same desired state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from node_agent.domain.spec import InstanceSpec


def digest(specs: Iterable[InstanceSpec]) -> bytes:
    """SHA-256 over the sorted lines "name generation revision", each ended by a newline."""
    lines = sorted(f"{spec.name} {spec.generation} {spec.revision}\n" for spec in specs)
    return hashlib.sha256("".join(lines).encode()).digest()
