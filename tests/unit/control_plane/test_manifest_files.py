from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.manifest import ManifestForm
from control_plane.domain.runtime import DesiredState
from control_plane.manifests.reader import Reader
from control_plane.use_cases.apply_manifest import ApplyManifest
from control_plane.use_cases.restore_runtime import RestoreRuntime
from control_plane.use_cases.scale_runtime import ScaleRuntime
from control_plane.use_cases.shutdown_runtime import ShutdownRuntime
from tests.fakes.control_plane import a_model, a_runtime
from tests.fakes.manifest_folder import SETTLE, Folder, entry, manifest


@pytest.fixture
async def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path)
    await folder.world.has(a_model())
    return folder


async def test_every_manifest_of_a_folder_is_loaded_as_one_change(folder: Folder) -> None:
    before = await folder.world.revision()
    folder.write(manifest(entry("a")))
    folder.write('{"version": 1, "runtimes": [{"id": "b", "adapter": "llama.cpp", "model": "tiny"}]}', "b.json")
    folder.write("neither", "readme.md")
    folder.write("half an edit", ".a.toml.swp.toml")
    await folder.watch()
    assert await folder.runtimes() == ["a", "b"]
    assert await folder.world.revision() == before + 1
    assert (await folder.world.runtime("a")).source == str(folder.path / "a.toml")
    (told,) = await folder.said()
    assert told.kind == "runtime.manifests.reloaded"
    assert told.payload["created"] == ["a", "b"]


async def test_what_does_not_change_is_neither_read_nor_told_again(folder: Folder) -> None:
    await folder.holds(manifest(entry("a")))
    revision, topics = await folder.world.revision(), await folder.world.topics()
    await folder.watch()
    folder.settle(folder.path / "a.toml")
    await folder.watch()
    folder.start()
    await folder.watch()
    assert (await folder.world.revision(), await folder.world.topics()) == (revision, topics)


async def test_what_a_file_no_longer_declares_is_removed_when_it_came_from_there(folder: Folder) -> None:
    await folder.world.has(a_runtime("hand"))
    await folder.holds(manifest(entry("a"), entry("b")))
    await folder.holds(manifest(entry("c")), "other.toml")
    await folder.holds(manifest(entry("a")))
    assert await folder.runtimes() == ["a", "c", "hand"]
    assert (await folder.said())[-1].payload["removed"] == ["b"]
    await folder.holds("version = 1\n")
    assert await folder.runtimes() == ["c", "hand"]


async def test_what_was_removed_while_nobody_watched_is_removed_at_the_start(folder: Folder) -> None:
    await folder.holds(manifest(entry("a"), entry("b")))
    folder.write(manifest(entry("a")))
    folder.start()
    await folder.watch()
    assert await folder.runtimes() == ["a"]


async def test_a_file_that_is_gone_removes_nothing_and_holds_nothing_up(folder: Folder) -> None:
    await folder.holds(manifest(entry("a")))
    (folder.path / "a.toml").unlink()
    await folder.holds(manifest(entry("b")), "b.toml")
    await folder.watch()
    assert await folder.runtimes() == ["a", "b"]
    assert await folder.refusals() == [f"{folder.path / 'a.toml'} is refused: it is not there."]


async def test_a_folder_that_is_gone_removes_nothing(folder: Folder, tmp_path: Path) -> None:
    await folder.holds(manifest(entry("a")))
    folder.path = folder.path.rename(tmp_path.with_name("elsewhere"))
    await folder.watch()
    await folder.watch()
    assert await folder.runtimes() == ["a"]
    assert len(await folder.refusals()) == 2, "the folder's and the file's"


async def test_a_bad_file_changes_nothing_at_all_and_is_told_once_with_its_line(folder: Folder) -> None:
    await folder.holds(manifest(entry("a"), entry("b")))
    revision = await folder.world.revision()
    folder.write(manifest(entry("a", "preset = 'quick'\n")))
    await folder.holds(manifest(entry("c", "slots = 2\n")), "bad.toml")
    await folder.watch()
    assert await folder.world.revision() == revision
    bad = folder.path / "bad.toml"
    assert await folder.refusals() == [f"{bad} is refused: line 6: runtimes[0].slots: is not known."]
    await folder.holds(manifest(entry("c")), "bad.toml")
    assert await folder.runtimes() == ["a", "c"]
    await folder.holds(manifest(entry("c", "slots = 2\n")), "bad.toml")
    assert len(await folder.refusals()) == 2, "bad again, told again"


async def test_a_file_that_is_being_written_counts_as_it_was_before(folder: Folder) -> None:
    await folder.holds(manifest(entry("a"), entry("b")))
    folder.write(manifest(entry("a")), settled=False)
    await folder.watch()
    assert await folder.runtimes() == ["a", "b"]
    folder.world.clock.advance(SETTLE)
    await folder.watch()
    assert await folder.runtimes() == ["a"]


async def test_a_runtime_in_two_files_is_refused_with_both(folder: Folder) -> None:
    folder.write(manifest(entry("a")))
    await folder.holds(manifest(entry("b"), entry("a")), "b.toml")
    assert await folder.runtimes() == []
    (text,) = await folder.refusals()
    assert text == f"{folder.path / 'b.toml'} is refused: line 6: runtime a: {folder.path / 'a.toml'} declares it too."


async def test_a_model_that_comes_later_lets_the_file_be_applied(folder: Folder) -> None:
    await folder.holds(manifest(entry("a")).replace("tiny", "later"))
    await folder.watch()
    assert len(await folder.refusals()) == 1
    await folder.world.has(a_model("later"))
    await folder.watch()
    assert await folder.runtimes() == ["a"]


async def test_auto_start_counts_anew_when_its_file_changed(folder: Folder) -> None:
    world = folder.world
    await folder.holds(manifest(entry("a", "auto_start = true\n")))
    await ShutdownRuntime(world.store, world.fleet, world.clock)(RuntimeId("a"))
    await folder.watch()
    assert await folder.wanted("a") is DesiredState.STOPPED, "an unchanged file undoes no shutdown"
    await folder.holds(manifest(entry("a", "auto_start = true\n"), entry("b")))
    assert await folder.wanted("a") is DesiredState.RUNNING
    requested = await world.events("runtime.restore.requested")
    assert [(event.payload["runtime"], event.payload["cause"]) for event in requested] == [
        ("a", "reload"),
        ("a", "reload"),
    ]


async def test_a_reload_stops_on_the_change_of_auto_start_and_never_what_was_restored_by_hand(folder: Folder) -> None:
    world = folder.world
    await folder.holds(manifest(entry("a", "auto_start = true\n"), entry("b")))
    await RestoreRuntime(world.store, world.fleet, world.clock)(RuntimeId("b"))
    await folder.holds(manifest(entry("a"), entry("b", 'preset = "quick"\n')))
    assert await folder.wanted("a") is DesiredState.STOPPED
    assert await folder.wanted("b") is DesiredState.RUNNING


async def test_what_was_declared_by_hand_becomes_the_files(folder: Folder) -> None:
    world = folder.world
    by_hand = ApplyManifest(world.store, world.fleet, world.clock, world.randomness, Reader())
    await by_hand(manifest(entry("a")).encode(), ManifestForm.TOML, "mine.toml")
    await folder.holds(manifest(entry("a")))
    row = await world.runtime("a")
    assert (row.source, row.generation) == (str(folder.path / "a.toml"), 1)
    assert await world.events("runtime.restore.requested") == []
    await folder.holds("version = 1\n")
    assert await folder.runtimes() == []


async def test_a_file_that_others_can_write_is_refused(folder: Folder) -> None:
    path = folder.write(manifest(entry("a")))
    path.chmod(0o666)
    await folder.watch()
    assert await folder.runtimes() == []
    assert "others than root" in (await folder.refusals())[0]


@pytest.mark.parametrize(
    "poison",
    [
        b"#" * (10 << 20),
        b"version = 1\n# \xff",
        b'version = 1\n[[runtimes]]\nid = "a"\nadapter = "x"\nname = "\\u0000"\n',
        b"a = " + b"[" * 100_000,
        manifest(entry("a"), entry("a")).encode(),
        manifest(*(entry(f"r{number}") for number in range(10_000))).encode(),
    ],
    ids=["10 MiB", "no UTF-8", "NUL", "deep", "ids twice", "10,000 runtimes"],
)
async def test_a_poisoned_file_changes_nothing(folder: Folder, poison: bytes) -> None:
    await folder.holds(manifest(entry("kept")))
    revision = await folder.world.revision()
    await folder.holds(poison)
    assert await folder.runtimes() == ["kept"]
    assert await folder.world.revision() == revision
    assert len(await folder.refusals()) == 1


@pytest.mark.parametrize(("make", "why"), [(os.mkfifo, "it is no plain file"), (os.mkdir, "Is a directory")])
async def test_what_is_no_file_holds_nobody_up(folder: Folder, make: Callable[[Path], None], why: str) -> None:
    path = folder.path / "odd.toml"
    make(path)
    folder.settle(path)
    await folder.watch()
    assert why in (await folder.refusals())[0]


async def test_named_files_are_loaded_beside_those_of_a_folder(folder: Folder, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    named = folder.write(manifest(entry("a")), "named")
    folder.path, folder.named = inside, (named, inside / "b.toml")
    folder.start()
    await folder.holds(manifest(entry("b")), "b.toml")
    assert await folder.runtimes() == ["a", "b"]


async def test_a_removed_runtime_is_taken_from_its_node(folder: Folder) -> None:
    await folder.holds(manifest(entry("a", "auto_start = true\n")))
    row = await folder.world.runtime("a")
    await folder.world.has(replace(row, node=NodeId("n1")))
    await folder.holds("version = 1\n")
    assert await folder.world.desired("n1") == []
    assert "runtime.deleted" in await folder.world.topics()


async def test_a_scale_by_hand_stays_until_the_entry_says_something_else(folder: Folder) -> None:
    await folder.holds(manifest(entry("a", "replicas = 2\n")))
    assert await folder.runtimes() == ["a", "a.2"]
    assert (await folder.said())[-1].payload["created"] == ["a", "a.2"]
    world = folder.world
    await ScaleRuntime(world.store, world.fleet, world.clock)(RuntimeId("a"), 3)
    await folder.holds(manifest(entry("a", "replicas = 2\n"), entry("b")))
    assert await folder.runtimes() == ["a", "a.2", "a.3", "b"]
    await folder.holds(manifest(entry("a", 'replicas = 2\npreset = "x"\n')))
    assert await folder.runtimes() == ["a", "a.2"]
    assert (await folder.said())[-1].payload["removed"] == ["b", "a.3"]
    await folder.holds("version = 1\n")
    assert await folder.runtimes() == []


async def test_replicas_of_one_file_and_a_runtime_of_another_are_refused_together(folder: Folder) -> None:
    folder.write(manifest(entry("a", "replicas = 2\n")))
    await folder.holds(manifest(entry("a.2")), "b.toml")
    assert await folder.runtimes() == []
    (text,) = await folder.refusals()
    assert text.endswith("runtime a.2: " + str(folder.path / "a.toml") + " declares it too.")
