"""A manifest as read, and what can be wrong with one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from control_plane.domain.errors import ManifestInvalid
from control_plane.domain.ids import ModelId, RuntimeId
from control_plane.domain.profile import Profile
from control_plane.domain.runtime import RuntimeSpec

MAX_RUNTIMES = 1000
"""Of one manifest."""
SHOWN_FAULTS = 20
SHOWN_BYTES = 2000
"""Of all faults, percent-encoded: a refusal travels in headers, of which peers take 8 KiB, and says each twice."""
MAX_FAULT = 300


class ManifestForm(StrEnum):
    TOML = "toml"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A file of a model."""

    path: str
    """As it is written: relative to the manifest, or absolute."""
    sha256: str = ""
    """Empty: what the file holds counts."""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ManifestModel:
    """A model to register. The client does so before it applies, the control plane for the files that it loads."""

    id: ModelId
    file: ManifestFile
    projector: ManifestFile | None = None
    format: str = ""
    """Empty: the file itself tells."""
    line: int = 0

    @property
    def files(self) -> tuple[ManifestFile, ...]:
        return (self.file, self.projector) if self.projector is not None else (self.file,)


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
    profiles: tuple[Profile, ...] = ()
    """Those that it names, as they were when it was read."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload of all files did."""

    created: tuple[RuntimeId, ...] = ()
    updated: tuple[RuntimeId, ...] = ()
    removed: tuple[RuntimeId, ...] = ()
    unchanged: int = 0
    models: tuple[ModelId, ...] = ()
    """Registered, or registered otherwise than before."""

    @property
    def changed(self) -> bool:
        return bool(self.created or self.updated or self.removed or self.models)


@dataclass(frozen=True, slots=True)
class Fault:
    text: str
    key: str = ""
    """Such as "runtimes[0].settings.slots"; empty: the file as a whole."""
    line: int = 0
    """0: not known."""
    column: int = 0
    """0: not said."""

    def __str__(self) -> str:
        line = f"line {self.line}" if self.line else ""
        place = f"{line}, column {self.column}" if line and self.column else line
        whole = ": ".join(part for part in (place, self.key, self.text) if part)
        return whole if len(whole) <= MAX_FAULT else f"{whole[: MAX_FAULT - 1]}…"


def manifest_invalid(source: str, faults: Sequence[Fault], remedy: str = "") -> ManifestInvalid:
    """One refusal for every fault; metadata holds each as "fault_1" and so on, and their number."""
    shown = list(_shown(faults))
    left = len(faults) - len(shown)
    lines = [*shown, f"and {left} more"] if left else shown
    return ManifestInvalid(
        f"{source or 'The manifest'} is refused: {'; '.join(lines)}.",
        remedy or "Correct what is named and apply it again; nothing was changed.",
        source=source,
        faults=str(len(faults)),
        **{f"fault_{number}": text for number, text in enumerate(shown, 1)},
    )


def _shown(faults: Sequence[Fault]) -> Iterator[str]:
    left = SHOWN_BYTES
    for fault in faults[:SHOWN_FAULTS]:
        text = str(fault).encode(errors="replace").decode()
        left -= len(quote(text))
        if left < 0:
            return
        yield text
