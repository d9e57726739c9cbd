from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.domain.runtime import DesiredState
from tests.fakes.control_plane import a_model
from tests.fakes.manifest_folder import Folder, entry, manifest

STARTED = 'profile = "ours"\nauto_start = true\n'


@pytest.fixture
async def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path)
    (tmp_path / "profiles").mkdir()
    await folder.world.has(a_model())
    return folder


def has(folder: Folder, slots: int | str, name: str = "ours", *, settled: bool = True) -> None:
    folder.write(f"version = 1\n[settings]\nslots = {slots}\n", f"profiles/{name}.toml", settled=settled)


async def slots(folder: Folder, name: str = "a") -> int | None:
    return (await folder.world.runtime(name)).spec.settings.slots


async def test_a_changed_profile_changes_the_runtimes_under_it_as_one_change(folder: Folder) -> None:
    has(folder, 2)
    await folder.holds(manifest(entry("a", STARTED), entry("b", STARTED), entry("c")))
    before = await folder.world.revision()
    has(folder, 3)
    await folder.watch()
    assert (await slots(folder), await slots(folder, "b")) == (3, 3)
    assert await folder.world.revision() == before + 1
    assert (await folder.said())[-1].payload["updated"] == ["a", "b"]
    changed = await folder.world.events("runtime.profile.changed")
    assert [event.payload["runtime"] for event in changed] == ["a", "b"]


async def test_a_profile_that_no_manifest_names_changes_nothing(folder: Folder) -> None:
    has(folder, 2)
    await folder.holds(manifest(entry("a", STARTED)))
    revision = await folder.world.revision()
    has(folder, 9, "theirs")
    await folder.watch()
    await folder.watch()
    assert await folder.world.revision() == revision


async def test_a_profile_in_the_middle_of_being_written_is_left_alone(folder: Folder) -> None:
    has(folder, 2)
    await folder.holds(manifest(entry("a", STARTED)))
    has(folder, 3, settled=False)
    await folder.watch()
    assert await slots(folder) == 2
    has(folder, 3)
    await folder.watch()
    assert await slots(folder) == 3


async def test_a_profile_that_becomes_wrong_or_goes_changes_nothing_and_is_told(folder: Folder) -> None:
    has(folder, 2)
    await folder.holds(manifest(entry("a", STARTED)))
    has(folder, "0")
    await folder.watch()
    assert await slots(folder) == 2
    assert "ours.toml is refused: line 3: settings.slots" in (await folder.refusals())[-1]
    (folder.path / "profiles" / "ours.toml").unlink()
    await folder.watch()
    assert "does not know 'ours'" in (await folder.refusals())[-1]
    has(folder, 4)
    await folder.watch()
    assert await slots(folder) == 4


async def test_a_changed_profile_starts_again_what_has_auto_start_as_a_changed_file_does(folder: Folder) -> None:
    has(folder, 2)
    await folder.holds(manifest(entry("a", STARTED)))
    has(folder, 3)
    await folder.watch()
    assert await folder.wanted("a") is DesiredState.RUNNING


async def test_after_a_restart_the_same_profiles_change_nothing(folder: Folder) -> None:
    has(folder, 2)
    await folder.holds(manifest(entry("a", STARTED)))
    generation = (await folder.world.runtime("a")).generation
    folder.start()
    await folder.watch()
    assert (await folder.world.runtime("a")).generation == generation
