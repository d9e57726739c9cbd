"""A manifest as read, and what can be wrong with one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from control_plane.domain.errors import ManifestInvalid
from control_plane.domain.ids import ModelId, RuntimeId
from control_plane.domain.runtime import RuntimeSpec

SHOWN_FAULTS = 20


class ManifestForm(StrEnum):
    TOML = "toml"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class ManifestModel:
    """A file that the client registers before it applies the manifest."""

    id: ModelId
    path: str


@dataclass(frozen=True, slots=True)
class ManifestRuntime:
    id: RuntimeId
    spec: RuntimeSpec
    line: int = 0
    """Where its entry begins; 0: not known."""


@dataclass(frozen=True, slots=True)
class Manifest:
    runtimes: tuple[ManifestRuntime, ...]
    models: tuple[ManifestModel, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    text: str
    key: str = ""
    """Such as "runtimes[0].settings.slots"; empty: the file as a whole."""
    line: int = 0
    """0: not known."""

    def __str__(self) -> str:
        place = f"line {self.line}" if self.line else ""
        return ": ".join(part for part in (place, self.key, self.text) if part)


def manifest_invalid(source: str, faults: Sequence[Fault], remedy: str = "") -> ManifestInvalid:
    """One refusal for every fault; metadata holds each as "fault_1" and so on, and their number."""
    shown = [str(fault) for fault in faults[:SHOWN_FAULTS]]
    left = len(faults) - len(shown)
    lines = [*shown, f"and {left} more"] if left else shown
    return ManifestInvalid(
        f"{source or 'The manifest'} is refused: {'; '.join(lines)}.",
        remedy or "Correct what is named and apply it again; nothing was changed.",
        source=source,
        faults=str(len(faults)),
        **{f"fault_{number}": text for number, text in enumerate(shown, 1)},
    )
