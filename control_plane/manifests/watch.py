"""Loads manifest files at the start, and again whenever they change."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import structlog

from control_plane.domain.errors import ManifestInvalid, StorageUnavailable
from control_plane.domain.manifest import Fault, Manifest, Reloaded, manifest_invalid
from control_plane.domain.problem import Problem
from control_plane.domain.watcher import Look, WatchArea, WatchReason
from control_plane.manifests.files import ManifestPaths, Mark, content_of, form_of, inside, mark_of
from control_plane.manifests.model_files import ModelFiles
from control_plane.manifests.profiles import ProfileFiles
from control_plane.use_cases.ports import Clock, ManifestReader
from control_plane.use_cases.reload_manifests import ReloadManifests
from control_plane.use_cases.report_watchers import ReportWatchers

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

    @property
    def digest(self) -> str:
        """Changes with what it says, and with the profiles that it names."""
        profiles = self.said.profiles if isinstance(self.said, Manifest) else ()
        named = [(profile.name, profile.intents) for profile in profiles]
        return hashlib.sha256(f"{self.sha256} {named}".encode()).hexdigest() if named else self.sha256


@dataclass(slots=True)
class _Outcome:
    """Of one look at all files."""

    wrong: list[ManifestInvalid]
    """Each keeps everything from being loaded."""
    waiting: set[str] = field(default_factory=set)
    """Sources that say something new, which is not loaded."""
    waits: str = ""
    """For what they wait, when nothing is wrong."""
    loaded: dict[WatchArea, WatchReason] = field(default_factory=dict)
    trouble: StorageUnavailable | None = None


@dataclass(slots=True)
class ManifestWatch:
    """Call it every few seconds, from one loop. All files together are one change of the fleet, or none.

    A file is read once it was left alone for `settle`, so that one in the middle of being written is not taken for a
    whole one. Until then it counts as it was before.
    """

    paths: ManifestPaths
    reader: ManifestReader
    reload: ReloadManifests
    models: ModelFiles
    report: ReportWatchers
    clock: Clock
    settle: timedelta
    profiles: ProfileFiles = field(default_factory=ProfileFiles)
    """As the reader has them."""
    _profile_marks: Mapping[Path, Mark] = field(default_factory=dict)
    _files: dict[Path, _Read] = field(default_factory=dict)
    _applied: dict[str, str] | None = None
    """Digests by source, of the last reload; None: there was none yet."""
    _told: set[tuple[str, str]] = field(default_factory=set)
    """What is wrong now and was said, each with its source."""
    _gone: set[Path] = field(default_factory=set)
    """Files of folders that are not there any more, and declared something at this revision."""
    _let_go_at: int = -1

    async def __call__(self) -> None:
        """StorageUnavailable; then the next call does it."""
        with self.report.looking():
            await asyncio.to_thread(self._look)
            outcome = await self._outcome()
            absent = [read.said.refusal for read in self._files.values() if isinstance(read.said, _Absent)]
            self.report.found(self._looks(outcome, absent))
        if outcome.trouble is not None:
            raise outcome.trouble
        await self._tell([*absent, *outcome.wrong])
        await self.report.tell()

    async def _outcome(self) -> _Outcome:
        wrong = [read.said for read in self._files.values() if isinstance(read.said, ManifestInvalid)]
        changed = self._changed()
        try:
            await self._let_go()
            if wrong or not changed:
                return _Outcome(wrong, changed)
            return await self._applying(changed)
        except StorageUnavailable as refusal:
            return _Outcome(wrong, changed, trouble=refusal)

    def _look(self) -> None:
        """Read what changed. Runs on a thread: disks may be slow, and so is a large manifest."""
        self._look_at_profiles()
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

    def _look_at_profiles(self) -> None:
        """With another profile, the same manifest may say something else: all are read again."""
        marks = self.profiles.marks()
        if marks == self._profile_marks or not all(map(self._is_settled, marks.values())):
            return
        self._profile_marks = marks
        self._files = {path: replace(read, mark=None, sha256="") for path, read in self._files.items()}

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

    def _said(self) -> dict[str, Manifest]:
        """What can be loaded, by source."""
        found = sorted(self._files.items())
        return {str(path): read.said for path, read in found if isinstance(read.said, Manifest)}

    def _changed(self) -> set[str]:
        """The sources that say something else than when they were loaded last."""
        known = self._applied or {}
        return {source for source in self._said() if known.get(source) != self._files[Path(source)].digest}

    async def _applying(self, changed: set[str]) -> _Outcome:
        """Reload all files."""
        said, first = self._said(), self._applied is None
        digests = {source: self._files[Path(source)].digest for source in said}
        manifests = list(said.values())
        try:
            brought = await asyncio.to_thread(self.models.brought, manifests)
            if brought.waits:
                return _Outcome([], changed, waits=brought.waits)
            told = await self.reload(manifests, () if first else changed, brought.models)
        except ManifestInvalid as refusal:
            return _Outcome([refusal], changed)
        known, self._applied = self._applied or {}, (self._applied or {}) | digests
        if told.changed or not first:
            _log_reload(sorted(changed), told)
        return _Outcome([], loaded=self._reasons(changed, known, first=first))

    def _reasons(self, changed: set[str], known: Mapping[str, str], *, first: bool) -> dict[WatchArea, WatchReason]:
        """The first of them that holds for any source of an area."""
        new = {source for source in changed if source not in known}
        found = [(WatchReason.CONTENT_CHANGED, changed), (WatchReason.PATHS_CHANGED, new)]
        if first:
            found.append((WatchReason.START, changed))
        return {self._area(Path(source)): reason for reason, sources in found for source in sources}

    async def _let_go(self) -> None:
        """A file of a folder that is gone is nobody's trouble any more once nothing is declared by it."""
        named = {*self.paths.files, *self.paths.directories}
        gone = {path for path, read in self._files.items() if isinstance(read.said, _Absent)} - named
        found = await self.reload.declaring(self._let_go_at if gone == self._gone else -1) if gone else None
        if found is None:
            return
        self._let_go_at, declaring = found
        self._gone = {path for path in gone if str(path) in declaring}
        for path in gone - self._gone:
            del self._files[path]

    def _looks(self, outcome: _Outcome, absent: Sequence[ManifestInvalid]) -> dict[WatchArea, Look]:
        refusals = [*absent, *outcome.wrong]
        files = Counter(self._area(Path(source)) for source in self._said())
        waiting = {self._area(Path(source)) for source in outcome.waiting}
        found: dict[WatchArea, Look] = {}
        for area in self.paths.areas:
            own = (each for each in refusals if self._area(Path(each.metadata["source"])) is area)
            others = (outcome.trouble, *outcome.wrong) if area in waiting else ()
            against = next((each for each in (*own, *others) if each is not None), None)
            problem = Problem.of(against) if against is not None else None
            found[area] = Look(files[area], problem, outcome.loaded.get(area), outcome.waits if area in waiting else "")
        return found

    def _area(self, path: Path) -> WatchArea:
        return WatchArea.MANIFEST_FILES if path in self.paths.files else WatchArea.MANIFEST_DIRECTORY

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
        models=list(told.models),
    )
