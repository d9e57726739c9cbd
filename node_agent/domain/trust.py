"""Whom a node trusts, as the control plane tells it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """Stands in place of whoever was trusted."""

    certificates: tuple[bytes, ...]
    """DER of every authority to trust."""
    tainted: tuple[str, ...] = ()
    """Ids of those whose certificates are to be renewed now, lower-case hex."""
    renew_within: timedelta = timedelta()
