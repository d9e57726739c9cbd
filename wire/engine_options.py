"""One name for a set of engine options, the same at the control plane and on every node."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def options_digest(given: Mapping[str, object]) -> str:
    """By the options' names in the protocol; what is None was not given."""
    lines = [f"{name}={value}" for name, value in sorted(given.items()) if value is not None]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
