"""Loads manifest files at the start, and again whenever they change."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import structlog

from control_plane.domain.errors import ManifestInvalid
from control_plane.domain.manifest import Fault, Manifest, Reloaded, manifest_invalid
from control_plane.manifests.files import ManifestPaths, Mark, content_of, form_of, inside, mark_of
from control_plane.use_cases.ports import Clock, ManifestReader
from control_plane.use_cases.reload_manifests import ReloadManifests

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Absent:
    """What a missing file or folder leaves to say. It holds nothing else up, and nothing is removed."""

    refusal: ManifestInvalid


@dataclass(frozen=True, slots=True)
class _Read:
    """One file, as it was read last."""

    mark: Mark | None = None
    sha256: str = ""
    said: Manifest | ManifestInvalid | _Absent | None = None
    """None: not known yet, for it is being written."""


@dataclass(slots=True)
class ManifestWatch:
    """Call it every few seconds, from one loop. All files together are one change of the fleet, or none.

    A file is read once it was left alone for `settle`, so that one in the middle of being written is not taken for a
    whole one. Until then it counts as it was before.
    """

    paths: ManifestPaths
    reader: ManifestReader
    reload: ReloadManifests
    clock: Clock
    settle: timedelta
    _files: dict[Path, _Read] = field(default_factory=dict)
    _applied: dict[str, str] | None = None
    """Digests by source, of the last reload; None: there was none yet."""
    _told: set[tuple[str, str]] = field(default_factory=set)
    """What is wrong now and was said, each with its source."""

    async def __call__(self) -> None:
        """StorageUnavailable; then the next call does it."""
        await asyncio.to_thread(self._look)
        wrong = [read.said for read in self._files.values() if isinstance(read.said, ManifestInvalid)]
        absent = [read.said.refusal for read in self._files.values() if isinstance(read.said, _Absent)]
        if not wrong:
            wrong = await self._applying()
        await self._tell([*absent, *wrong])

    def _look(self) -> None:
        """Read what changed. Runs on a thread: disks may be slow, and so is a large manifest."""
        found = list(self.paths.files)
        for directory in self.paths.directories:
            self._files.pop(directory, None)
            try:
                found += inside(directory)
            except OSError as error:
                self._files[directory] = _Read(said=_absent(directory, error))
        for path in found:
            self._files[path] = self._seen(path)
        for path in self._files.keys() - {*found, *self.paths.directories}:
            self._files[path] = _Read(said=_absent(path))

    def _seen(self, path: Path) -> _Read:
        known = self._files.get(path, _Read())
        try:
            mark = mark_of(path)
            if mark == known.mark:
                return known
            if not self._is_settled(mark):
                return known
            content = content_of(path, mark)
        except FileNotFoundError:
            return _Read(said=_absent(path))
        except OSError as error:
            return _Read(said=_unreadable(path, error))
        if content is None:
            return known
        digest = hashlib.sha256(content).hexdigest()
        return _Read(mark, digest, known.said if digest == known.sha256 else self._parsed(content, path))

    def _is_settled(self, mark: Mark) -> bool:
        """A time in the future is no reason to wait for it."""
        return abs(self.clock.now().timestamp() - mark.modified_ns / 1e9) >= self.settle.total_seconds()

    def _parsed(self, content: bytes, path: Path) -> Manifest | ManifestInvalid:
        try:
            return self.reader.read(content, form_of(path), str(path))
        except ManifestInvalid as refusal:
            return refusal

    async def _applying(self) -> list[ManifestInvalid]:
        """Reload when a file says something else than when it was applied last; returns what is against it."""
        said = {path: read for path, read in sorted(self._files.items()) if isinstance(read.said, Manifest)}
        digests = {str(path): read.sha256 for path, read in said.items()}
        known = self._applied or {}
        changed = {source for source, digest in digests.items() if known.get(source) != digest}
        if not changed:
            return []
        manifests = [read.said for read in said.values() if isinstance(read.said, Manifest)]
        first = self._applied is None
        try:
            told = await self.reload(manifests, () if first else changed)
        except ManifestInvalid as refusal:
            return [refusal]
        self._applied = known | digests
        if told.changed or not first:
            _log_reload(sorted(changed), told)
        return []

    async def _tell(self, refusals: Sequence[ManifestInvalid]) -> None:
        """Each once for as long as it lasts."""
        said = {(refusal.metadata.get("source", ""), refusal.text): refusal for refusal in refusals}
        for source, text in said.keys() - self._told:
            await self.reload.refused(said[source, text])
            _log.warning("manifest_refused", source=source, text=text, remedy=said[source, text].remedy)
        self._told = set(said)


def _absent(path: Path, error: OSError | None = None) -> _Absent:
    text = f"it cannot be read: {error.strerror or error}" if error else "it is not there"
    remedy = "What it declared stays. Put it back, or remove runtimes with `arwctl runtime delete ID`."
    return _Absent(manifest_invalid(str(path), [Fault(text)], remedy))


def _unreadable(path: Path, error: OSError) -> ManifestInvalid:
    return manifest_invalid(str(path), [Fault(f"it cannot be read: {error.strerror or error}")])


def _log_reload(changed: Sequence[str], told: Reloaded) -> None:
    _log.info(
        "manifests_reloaded",
        changed=changed,
        created=list(told.created),
        updated=list(told.updated),
        removed=list(told.removed),
        unchanged=told.unchanged,
    )
