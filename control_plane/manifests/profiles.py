"""Profiles as files: those that came with the control plane, and the operator's own over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from msgspec import UNSET

from control_plane.domain.errors import ManifestInvalid
from control_plane.domain.manifest import Fault, ManifestForm, manifest_invalid
from control_plane.domain.profile import PROFILE_NAME, Profile
from control_plane.domain.runtime import Intents
from control_plane.manifests.files import Mark, content_of, form_of, inside, mark_of
from control_plane.manifests.parse import parse
from control_plane.manifests.read_settings import ACCELERATORS, or_none, settings_of
from control_plane.manifests.shapes import ProfileDocument
from control_plane.manifests.texts import unfit
from wire.positions import Lines, spot_of
from wire.strict import Check, shown

VERSION = 1
REMEDY = "Correct the profile; what runs goes on as it was declared."
_HERE = Path(__file__).resolve()

Profiles = Mapping[str, Profile | ManifestInvalid]
"""By name; of a file that is refused why."""


@dataclass(frozen=True, slots=True)
class ProfileFiles:
    own: Path | None = None
    """A folder; one that is missing counts as empty."""

    def read(self) -> Profiles:
        """As they are now."""
        try:
            found = inside(self.own) if self.own is not None and self.own.exists() else []
        except OSError as error:
            fault = manifest_invalid(str(self.own), [Fault(f"it cannot be read: {error.strerror or error}")], REMEDY)
            return dict.fromkeys(shipped(), fault)
        return {**shipped(), **{path.stem: _own(path) for path in found}}

    def marks(self) -> Mapping[Path, Mark]:
        """They change with the operator's files; without those that cannot be read."""
        found: dict[Path, Mark] = {}
        try:
            for path in inside(self.own) if self.own is not None and self.own.exists() else []:
                found[path] = mark_of(path)
        except OSError:
            return found
        return found


def shipped_folder() -> Path:
    """In a wheel beside this file, in a checkout among the configs."""
    packed = _HERE.with_name("shipped_profiles")
    return packed if packed.is_dir() else _HERE.parents[2] / "configs" / "runtime" / "profiles"


@cache
def shipped() -> Mapping[str, Profile]:
    found = inside(shipped_folder())
    return {path.stem: read_profile(path.stem, path.read_bytes(), form_of(path), "") for path in found}


def read_profile(name: str, content: bytes, form: ManifestForm, source: str) -> Profile:
    """ManifestInvalid names all that is wrong."""
    told = source or name
    data, lines = parse(content, form, told)
    check = Check()
    for path, text in unfit(data):
        check.note(path, text)
    document = check.struct(data, ProfileDocument, ()) if not check.misfits else None
    if document is not None:
        _check(name, document, check)
    if check.misfits or document is None:
        raise manifest_invalid(told, _faults(check, lines), REMEDY)
    return Profile(name, _intents(document), document.description, source)


def _own(path: Path) -> Profile | ManifestInvalid:
    try:
        content = content_of(path, mark_of(path))
        if content is None:
            return manifest_invalid(str(path), [Fault("it is being written just now")], "Apply again.")
        return read_profile(path.stem, content, form_of(path), str(path))
    except OSError as error:
        return manifest_invalid(str(path), [Fault(f"it cannot be read: {error.strerror or error}")], REMEDY)
    except ManifestInvalid as refusal:
        return refusal


def _check(name: str, document: ProfileDocument, check: Check) -> None:
    if not PROFILE_NAME.fullmatch(name):
        check.note((), "its file's name must be 1 to 64 of a-z 0-9 . _ - before the ending")
    if document.version != VERSION:
        check.note(("version",), f"must be {VERSION}, not {document.version}")
    if document.accelerator and document.accelerator not in ACCELERATORS:
        known = ", ".join(sorted(ACCELERATORS))
        check.note(("accelerator",), f"does not know {document.accelerator[:64]!r}; known are {known}")
    if document.settings.threads is not UNSET and document.settings.threads_share is not UNSET:
        check.note(("settings", "threads_share"), "says with other words what 'threads' says: leave one of them out")


def _faults(check: Check, lines: Lines) -> list[Fault]:
    found = [Fault(m.text, shown(m.path), *spot_of(lines, m.path)) for m in check.misfits]
    return sorted(found, key=lambda fault: (fault.line, fault.column, fault.key))


def _intents(document: ProfileDocument) -> Intents:
    return Intents(
        settings=settings_of(document.settings),
        modalities=or_none(document.modalities),
        accelerator=ACCELERATORS.get(document.accelerator),
        on_missing_accelerator=or_none(document.on_missing_accelerator),
        threads_share=or_none(document.settings.threads_share),
        tuning=document.tuning or None,
    )
