"""The layers that keep an engine from what is not its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SandboxLayer:
    name: str
    in_force: bool
    reason: str = ""
    """Why it is not in force; empty when it is."""
