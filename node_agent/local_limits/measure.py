"""What reading the owner's file takes and may raise; without what the reading itself needs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


class UnreadableError(Exception):
    """What is wrong with the file, a fault a line, each with its line number and key where it has one."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the words of the file are measured by."""

    memory_bytes: int
    adapters: Collection[str]
    layers: Collection[str]
    """Of the sandbox, that its owner may require or leave out."""
