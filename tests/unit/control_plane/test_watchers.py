from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from control_plane.domain.errors import NotLeading, StorageUnavailable
from control_plane.domain.problem import Problem
from control_plane.domain.watcher import HANGS_AFTER, Look, WatchArea, WatchReason, WatchStatus
from control_plane.use_cases.delete_runtime import DeleteRuntime
from control_plane.use_cases.get_watchers import GetWatchers
from control_plane.use_cases.report_watchers import ReportWatchers
from tests.fakes.control_plane import a_model
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.manifest_folder import Folder, entry, manifest

FOLDER, FILES = WatchArea.MANIFEST_DIRECTORY, WatchArea.MANIFEST_FILES


@pytest.fixture
async def folder(tmp_path: Path) -> Folder:
    (tmp_path / "watched").mkdir()
    folder = Folder(tmp_path / "watched")
    await folder.world.has(a_model())
    return folder


async def test_an_area_says_when_all_was_well_last_and_why_it_was_loaded(folder: Folder) -> None:
    clock = folder.world.clock
    await folder.holds(manifest(entry("a")))
    first = await folder.watcher()
    assert (first.status, first.files, first.last_ok, first.last_reason) == (
        WatchStatus.OK,
        1,
        clock.now(),
        WatchReason.START,
    )
    clock.advance(timedelta(seconds=5))
    await folder.watch()
    assert (await folder.watcher()).last_ok == clock.now()
    await folder.holds(manifest(entry("a"), entry("b")))
    assert (await folder.watcher()).last_reason is WatchReason.CONTENT_CHANGED
    await folder.holds(manifest(entry("c")), "c.toml")
    seen = await folder.watcher()
    assert (seen.files, seen.last_reason, seen.last_reason_time) == (2, WatchReason.PATHS_CHANGED, clock.now())
    assert await folder.health() == [], "nothing ever was wrong"


async def test_what_is_wrong_stays_degraded_however_long_it_lasts_and_until_it_is_mended(folder: Folder) -> None:
    clock = folder.world.clock
    await folder.holds(manifest(entry("a")))
    well = clock.now()
    clock.advance(timedelta(seconds=2))
    await folder.holds(manifest(entry("a", "nonsense = 1\n")))
    began = clock.now()
    for _ in range(3):
        clock.advance(timedelta(days=40))
        await folder.watch()
    seen = await folder.watcher()
    assert (seen.status, seen.last_ok, seen.since, seen.last_error_time) == (WatchStatus.DEGRADED, well, began, began)
    assert "nonsense" in seen.summary
    await folder.holds(manifest(entry("a")))
    mended = await folder.watcher()
    assert (mended.status, mended.since, mended.last_ok) == (WatchStatus.OK, clock.now(), clock.now())
    assert mended.last_error is not None
    assert "nonsense" in mended.last_error.text
    assert await folder.health() == [(FOLDER, "degraded"), (FOLDER, "ok")]


async def test_a_restart_tells_nothing_twice_and_forgets_nothing(folder: Folder) -> None:
    await folder.holds("version = 2\n")
    folder.start()
    await folder.watch()
    assert (await folder.watcher()).status is WatchStatus.DEGRADED
    assert await folder.health() == [(FOLDER, "degraded")]
    folder.start()
    await folder.holds("version = 1\n")
    assert await folder.health() == [(FOLDER, "degraded"), (FOLDER, "ok")]


async def test_each_area_tells_its_own_and_says_so_when_it_waits_for_the_other(folder: Folder) -> None:
    folder.named = (folder.write(manifest(entry("named")), "../named.toml"),)
    folder.start()
    await folder.holds(manifest(entry("inside")))
    await folder.holds("version = 2\n", "bad.toml")
    files, inside = await folder.watcher(FILES), await folder.watcher(FOLDER)
    assert (files.status, inside.status) == (WatchStatus.OK, WatchStatus.DEGRADED)
    folder.write(manifest(entry("named"), entry("more")), "../named.toml")
    await folder.watch()
    files = await folder.watcher(FILES)
    assert files.status is WatchStatus.DEGRADED
    assert "bad.toml is refused" in files.summary
    assert (await GetWatchers(folder.report, folder.world.clock)()).status is WatchStatus.DEGRADED


async def test_a_file_of_the_folder_that_is_gone_is_a_trouble_until_nothing_is_declared_by_it(folder: Folder) -> None:
    world = folder.world
    await folder.holds(manifest(entry("a")))
    (folder.path / "a.toml").unlink()
    await folder.watch()
    assert "it is not there" in (await folder.watcher()).summary
    await DeleteRuntime(world.store, world.clock)((await world.runtime("a")).id)
    await folder.watch()
    assert (await folder.watcher()).status is WatchStatus.OK


async def test_a_named_file_that_is_missing_is_degraded_from_the_start(folder: Folder, tmp_path: Path) -> None:
    folder.named = (tmp_path / "missing.toml",)
    folder.start()
    await folder.watch()
    assert (await folder.watcher(FILES)).summary == f"{tmp_path / 'missing.toml'} is refused: it is not there."
    assert await folder.health() == [(FILES, "degraded")]


async def test_a_database_that_takes_nothing_degrades_what_waits_for_it(folder: Folder) -> None:
    folder.world.store = store = FaultyStore(folder.world.store)
    folder.start()
    store.fail_next(Fault.BEFORE_COMMIT)
    folder.write(manifest(entry("a")))
    with pytest.raises(StorageUnavailable):
        await folder.watch()
    seen = await folder.watcher()
    assert (seen.status, "failed on request" in seen.summary) == (WatchStatus.DEGRADED, True)
    await folder.watch()
    assert (await folder.watcher()).status is WatchStatus.OK
    assert await folder.health() == [], "it was over before it could be told"


async def test_a_look_that_does_not_end_is_a_trouble_of_its_own(folder: Folder) -> None:
    await folder.holds(manifest(entry("a")))
    with folder.report.looking():
        folder.world.clock.advance(HANGS_AFTER)
        assert (await folder.watcher()).status is WatchStatus.OK
        folder.world.clock.advance(timedelta(seconds=1))
        assert "has not ended" in (await folder.watcher()).summary


async def test_a_replica_that_does_not_look_shows_what_was_told_last(folder: Folder) -> None:
    world = folder.world
    other = ReportWatchers(world.store, world.clock, {FOLDER: (str(folder.path),)})
    (seen,) = await other.seen()
    assert (seen.status, seen.last_ok) == (WatchStatus.OK, None)
    await folder.holds("version = 2\n")
    (seen,) = await other.seen()
    assert (seen.status, seen.files, seen.since) == (WatchStatus.DEGRADED, 0, world.clock.now())
    with pytest.raises(NotLeading), other.looking():
        raise NotLeading("it does not lead")
    (seen,) = await other.seen()
    assert seen.status is WatchStatus.DEGRADED


async def test_who_leads_again_tells_what_differs_from_the_last_word_of_others(folder: Folder) -> None:
    world = folder.world
    await folder.holds(manifest(entry("a")))
    other = ReportWatchers(world.store, world.clock, {FOLDER: (str(folder.path),)})
    with other.looking():
        other.found({FOLDER: Look(1, Problem("MANIFEST_INVALID", "It is wrong.", "Mend it."))})
    await other.tell()
    world.clock.advance(HANGS_AFTER + timedelta(seconds=1))
    await folder.watch()
    assert await folder.health() == [(FOLDER, "degraded"), (FOLDER, "ok")]
