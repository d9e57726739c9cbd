from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SandboxLayer:
    """Something that keeps an engine from what is not its own, as its node names it."""

    name: str
    in_force: bool
    reason: str = ""
    """Why it is not in force; empty when it is."""
