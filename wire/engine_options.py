"""One name for a set of engine options, the same at the control plane and on every node."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

CACHING = ("warm_up_prompts", "prompt_cache")
"""What the engine's prompt cache holds changes neither its size nor its speed."""


def options_digest(given: Mapping[str, object]) -> str:
    """By the options' names in the protocol; what is None was not given."""
    counted = {name: value for name, value in given.items() if name not in CACHING and value is not None}
    lines = [f"{name}={value}" for name, value in sorted(counted.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
