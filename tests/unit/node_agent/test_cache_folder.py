"""Folders for what slots hold: never above a size, never through a link."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from node_agent.runtimes.cache_folder import CacheFolder
from node_agent.runtimes.directory import ForeignFileError


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir(mode=0o700)
    return tmp_path


def shared(state: Path, name: str = "songs") -> CacheFolder:
    folder = CacheFolder.of(state / "scratch", state, name)
    folder.prepare(0, ())
    return folder


def put(folder: CacheFolder, name: str, size: int, used: float) -> Path:
    path = folder.path / name
    path.write_bytes(b"x" * size)
    os.utime(path, (used, used))
    return path


def test_without_a_name_it_is_the_instances_own_and_outlives_a_launch(state: Path) -> None:
    folder = CacheFolder.of(state / "scratch", state, "")
    assert folder.path.parent == state / "scratch"
    assert folder.path.name.startswith(".")
    assert CacheFolder.at(str(folder.path), state / "scratch") == folder


def test_a_shared_one_is_for_this_user_alone_and_found_again(state: Path) -> None:
    folder = shared(state)
    assert folder.path == state / "prompt_cache" / "songs"
    assert {stat.S_IMODE(each.stat().st_mode) for each in (folder.path, folder.whole)} == {0o700}
    assert CacheFolder.at(str(folder.path), state / "scratch") == folder


def test_what_was_used_longest_ago_goes_first_whoever_shares_it(state: Path) -> None:
    songs, poems = shared(state), shared(state, "poems")
    oldest, middle, newest = put(songs, "a", 40, 1.0), put(poems, "b", 40, 2.0), put(songs, "c", 40, 3.0)
    assert songs.sweep(120) == 120
    assert songs.sweep(100) == 80
    assert [path.exists() for path in (oldest, middle, newest)] == [False, True, True]
    songs.used("c")
    poems.used("b")
    assert poems.sweep(40) == 40
    assert [path.exists() for path in (middle, newest)] == [True, False]


def test_what_is_larger_than_all_may_be_does_not_stay(state: Path) -> None:
    folder = shared(state)
    file = put(folder, "a", 200, 1.0)
    assert folder.sweep(100) == 0
    assert not file.exists()
    assert not folder.is_there("a")


def test_links_are_removed_and_never_followed(state: Path, tmp_path: Path) -> None:
    folder, outside = shared(state), tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"x" * 500)
    (folder.path / "link").symlink_to(outside / "kept")
    (folder.path / "folder").symlink_to(outside)
    assert not folder.is_there("link")
    assert folder.sweep(100) == 0
    assert (outside / "kept").exists()
    assert not list(folder.path.iterdir())


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_can_enter_is_not_used(state: Path, mode: int) -> None:
    folder = shared(state)
    folder.path.chmod(mode)
    with pytest.raises(ForeignFileError):
        folder.prepare(0, ())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_another_user_that_engines_run_as_gets_the_folder_and_a_way_to_it(state: Path) -> None:
    user, group = 54321, 54322
    folder = CacheFolder.of(state / "scratch", state, "songs")
    for _ in range(2):
        folder.prepare(user, (group,))
    given, way = folder.path.stat(), folder.whole.stat()
    assert (given.st_uid, given.st_gid, stat.S_IMODE(given.st_mode)) == (user, group, 0o700)
    assert (way.st_uid, way.st_gid, stat.S_IMODE(way.st_mode)) == (0, group, 0o710)


def test_a_link_in_its_place_is_not_used(state: Path, tmp_path: Path) -> None:
    (state / "prompt_cache").mkdir(mode=0o700)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (state / "prompt_cache" / "songs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ForeignFileError):
        shared(state)


def test_only_one_instances_files_are_removed(state: Path) -> None:
    folder = shared(state)
    put(folder, "slot-a-0.bin", 1, 1.0)
    put(folder, "slot-b-0.bin", 1, 1.0)
    folder.remove_all("slot-a-")
    assert [path.name for path in folder.path.iterdir()] == ["slot-b-0.bin"]
