"""Desired state of one node, materialised: rows and tombstones by revision."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from control_plane.domain.ids import NodeId
from control_plane.domain.model import Model
from control_plane.domain.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Placed:
    """A runtime as one node must make it so, with the model file it needs."""

    runtime: Runtime
    model: Model | None
    """None: it needs none."""


@dataclass(frozen=True, slots=True)
class DesiredRow:
    """One resource of a node at its latest revision; a tombstone has no content."""

    node: NodeId
    name: str
    revision: int
    generation: int
    content: Placed | None
    """None: a tombstone."""


def digest(rows: Iterable[tuple[str, int, int]]) -> bytes:
    """SHA-256 over the sorted lines "name generation revision", each ended by a newline."""
    lines = sorted(f"{name} {generation} {revision}\n" for name, generation, revision in rows)
    return hashlib.sha256("".join(lines).encode()).digest()
