"""What an engine's slots hold, kept over a planned restart and there before the first request."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from node_agent.domain.inventory import Engine
from node_agent.domain.limits import Limits
from node_agent.domain.spec import InstanceSpec
from node_agent.domain.timers import Timers
from node_agent.runtimes.cache_folder import CacheFolder
from node_agent.runtimes.directory import ForeignFileError, InstanceDirectory
from node_agent.runtimes.kinds.adapter import Adapter, Feature, Gauges, Line
from node_agent.runtimes.probe import NoAnswer
from node_agent.runtimes.records import KeptSlots, LaunchRecord
from node_agent.runtimes.sandbox.user import user_of

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Filled:
    warm: bool | None = None
    """Its prompt cache holds something; None: it has none, or does not say."""
    notes: tuple[str, ...] = ()
    """For people: what was done, and what was not and why."""


class Slots:
    """Of one launch. Nothing that goes wrong here is fatal: it is said, and the engine works without."""

    def __init__(
        self,
        adapter: Adapter,
        home: InstanceDirectory,
        record: LaunchRecord,
        limit_bytes: int,
        timers: Timers,
    ) -> None:
        self._adapter = adapter
        self._home = home
        self._record = record
        self._limit = limit_bytes
        self._timers = timers
        self._folder = CacheFolder.at(record.cache, home.scratch) if record.cache else None
        self._warm: bool | None = None

    async def keep(self, slots: int) -> None:
        """Before a planned stop: for the next launch that is alike. It never takes longer than its time."""
        if self._folder is None or not self._limit:
            return
        kept, problem = dict[str, int](), ""
        try:
            async for file, slot in self._kept(self._folder, slots):
                kept[file] = slot
        except (NoAnswer, OSError) as error:
            problem = f"Not all of what its slots held was kept: {error}."
            log.warning("slots_not_kept", instance=self._home.path.name, error=str(error))
        there = {file: slot for file, slot in kept.items() if self._folder.is_there(file)}
        if len(there) < len(kept):
            problem = "Not all of what its slots held was kept: it is more than this node's owner lets prompts take."
        try:
            self._home.save(KeptSlots(self._record.cache, self._record.cache_key, there, problem))
        except OSError as error:
            log.warning("slots_not_kept", instance=self._home.path.name, error=str(error))

    async def _kept(self, folder: CacheFolder, slots: int) -> AsyncIterator[tuple[str, int]]:
        deadline = _Deadline(self._timers.keep_slots)
        for slot in range(slots):
            file = f"{_prefix(self._home)}{slot}.bin"
            if await self._saved(folder, slot, file, deadline.left()):
                yield file, slot

    async def _saved(self, folder: CacheFolder, slot: int, file: str, patience: timedelta) -> bool:
        """Whether the slot held anything. It stays only as far as all that is kept fits."""
        if not folder.has_room(self._limit):
            raise NoAnswer("the disk is nearly full")
        tokens = await self._adapter.save_slot(self._line(patience), slot, file)
        if not tokens:
            folder.remove(file)
            return False
        await asyncio.to_thread(folder.sweep, self._limit)
        return True

    def _line(self, patience: timedelta) -> Line:
        return Line(self._record.port, self._home.key(), patience)

    async def fill(self, spec: InstanceSpec, slots: int, told: Callable[[str], None]) -> Filled:
        """After the engine answers, before it counts as ready. `told`: what it does now."""
        if not self._caches(spec):
            return Filled()
        restored, notes = await self._restored(slots)
        prompts = spec.settings.warm_up_prompts or ()
        free = iter(sorted(set(range(slots)) - restored))
        done, problems = await self._warmed(spec, prompts, free, told)
        if prompts:
            notes.append(f"warmed up with {done} of {len(prompts)} prompts")
        self._warm = bool(restored) or done > 0 or await self._has_read(spec)
        return Filled(self._warm, (*notes, *problems))

    async def find(self, spec: InstanceSpec) -> Filled:
        """Of an engine that an earlier agent made ready: only what it says of itself counts."""
        if self._caches(spec):
            self._warm = await self._has_read(spec) or None
        return Filled(self._warm)

    def warms(self, spec: InstanceSpec, gauges: Gauges) -> bool:
        """Whether it is seen only now that its cache holds something."""
        news = self._caches(spec) and not self._warm and gauges.has_read is True
        if news:
            self._warm = True
        return news

    def _caches(self, spec: InstanceSpec) -> bool:
        return Feature.PROMPT_CACHE in self._adapter.traits.features and not spec.settings.embeddings

    async def _has_read(self, spec: InstanceSpec) -> bool | None:
        line = self._line(self._timers.probe_timeout)
        return (await self._adapter.gauges(spec, line.port, line.key, line.patience)).has_read

    async def _restored(self, slots: int) -> tuple[set[int], list[str]]:
        """Slots that hold again what they held before the stop. Nothing of it stays on disk."""
        kept = self._home.kept_slots()
        if kept is None:
            return set(), []
        notes, restored = [kept.problem] if kept.problem else [], set[int]()
        fits = (kept.folder, kept.key) == (self._record.cache, self._record.cache_key)
        deadline = _Deadline(self._timers.restore_slots)
        try:
            for file, slot in kept.files.items():
                if fits and slot < slots and await self._restore(slot, file, deadline.left()):
                    restored.add(slot)
        except NoAnswer as error:
            notes.append(f"Not all of what its slots held was read back: {error}.")
            log.warning("slots_not_restored", instance=self._home.path.name, error=str(error))
        await asyncio.to_thread(forget_kept, self._home)
        if restored:
            notes.append(f"{len(restored)} of {slots} slots hold what they held before the restart")
        return restored, notes

    async def _restore(self, slot: int, file: str, patience: timedelta) -> bool:
        return await self._adapter.restore_slot(self._line(patience), slot, file) > 0

    async def _warmed(
        self, spec: InstanceSpec, prompts: Sequence[str], free: Iterator[int], told: Callable[[str], None]
    ) -> tuple[int, list[str]]:
        deadline, problems = _Deadline(self._timers.warm_up), list[str]()
        for number, prompt in enumerate(prompts, 1):
            told(f"Warming up, prompt {number} of {len(prompts)}")
            try:
                await self._take_in(spec, prompt, next(free, None), deadline)
            except (NoAnswer, OSError) as error:
                log.warning("warm_up_failed", instance=spec.name, prompt=number, error=str(error))
                problems.append(f"Warm-up prompt {number} was not read: {error}.")
        return len(prompts) - len(problems), problems

    async def _take_in(self, spec: InstanceSpec, prompt: str, slot: int | None, deadline: _Deadline) -> None:
        """From a file where it was read before, by this runtime or one that shares its cache."""
        file, folder = f"prompt-{_digest(self._record.cache_key, prompt)}.bin", self._folder
        if folder is not None and slot is not None and await self._reread(folder, slot, file, deadline.left()):
            return
        await self._adapter.warm_up(spec, self._line(deadline.left()), prompt, slot)
        if folder is not None and slot is not None:
            await self._saved(folder, slot, file, deadline.left())

    async def _reread(self, folder: CacheFolder, slot: int, file: str, patience: timedelta) -> bool:
        if not folder.is_there(file):
            return False
        try:
            found = await self._restore(slot, file, patience)
        except NoAnswer:
            found = False
        if found:
            folder.used(file)
        else:
            folder.remove(file)
        return found


def cache_folder(home: InstanceDirectory, spec: InstanceSpec, adapter: Adapter, limits: Limits) -> CacheFolder | None:
    """Made, and open to the engine's user; None when nothing is kept here. It blocks."""
    if Feature.SLOT_SAVE not in adapter.traits.features or not limits.prompt_cache_bytes or spec.settings.embeddings:
        return None
    user, _ = user_of(limits.sandbox)
    folder = CacheFolder.of(home.scratch, home.agent, spec.settings.prompt_cache or "")
    try:
        home.prepare()
        folder.prepare(user.uid if user else 0, user.groups if user else ())
    except (OSError, ForeignFileError) as error:
        log.warning("cache_folder_unusable", instance=spec.name, error=str(error))
        return None
    return folder


def cache_key(spec: InstanceSpec, engine: Engine) -> str:
    """Launches that agree in it can read what the other's slots held; whether it fits is the engine's to say."""
    return model_key(spec) + _digest(*(digest for _, digest in engine.digests))


def model_key(spec: InstanceSpec) -> str:
    """How the cache keys of all engines begin for this model; llama.cpp reads no file of another number of slots."""
    files = [file.sha256 or f"{file.path} {file.size_bytes}" for file in (spec.model, spec.projector) if file]
    return _digest(spec.adapter, str(spec.settings.slots), *files)


def forget_kept(home: InstanceDirectory) -> None:
    """What was kept for a restart, once that is over or does not come: it is somebody's prompts. It blocks."""
    kept = home.kept_slots()
    if kept is None:
        return
    try:
        CacheFolder.at(kept.folder, home.scratch).remove_all(_prefix(home))
        home.forget_slots()
    except OSError as error:
        log.warning("kept_slots_not_removed", instance=home.path.name, error=str(error))


def _prefix(home: InstanceDirectory) -> str:
    """Of this instance's files, also where others have theirs."""
    return f"slot-{_digest(str(home.path.absolute()))}-"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


class _Deadline:
    def __init__(self, patience: timedelta) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + patience.total_seconds()

    def left(self) -> timedelta:
        """NoAnswer when it is over."""
        left = self._end - self._loop.time()
        if left <= 0:
            raise NoAnswer("its time was over")
        return timedelta(seconds=left)
