"""How nodes run engines, and how runtimes may be run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ExecutionMode(StrEnum):
    """Slugs of arw.v1.ExecutionMode."""

    UNSPECIFIED = ""
    """Not said, or one that only a newer version knows."""
    NATIVE = "native"
    CONTAINER = "container"


MODES = (ExecutionMode.NATIVE, ExecutionMode.CONTAINER)


@dataclass(frozen=True, slots=True)
class ExecutionSettings:
    modes: tuple[ExecutionMode, ...] = ()
    """None: any."""
    preferred: ExecutionMode = ExecutionMode.UNSPECIFIED
    image: str = ""
    """Of its containers, by name; empty: the one that the node's owner trusts for the adapter."""

    @property
    def possible(self) -> tuple[ExecutionMode, ...]:
        return self.modes or MODES


@dataclass(frozen=True, slots=True)
class ExecutionOffer:
    """A mode that a node knows."""

    mode: ExecutionMode
    available: bool
    detail: str = ""
    """What runs it, or why it is not to be had."""
