"""Models that manifests bring which the control plane loads itself."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from control_plane.domain.model import ModelPart
from control_plane.domain.watcher import WatchStatus
from tests.fakes.control_plane import a_model
from tests.fakes.manifest_folder import Folder, entry, manifest

GGUF = b"GGUF and weights"
SHA256 = hashlib.sha256(GGUF).hexdigest()


def model(name: str = "tiny", path: str = "../tiny.gguf", more: str = "") -> str:
    return f'[[models]]\nid = "{name}"\npath = "{path}"\n{more}'


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "watched").mkdir()
    (tmp_path / "tiny.gguf").write_bytes(GGUF)
    return Folder(tmp_path / "watched")


async def test_a_model_is_registered_with_its_runtimes_as_one_change(folder: Folder) -> None:
    await folder.holds(manifest(model(), entry("a")))
    assert await folder.runtimes() == ["a"]
    found = await folder.model()
    assert found is not None
    path = str(folder.path / "../tiny.gguf")
    assert (found.path, found.sha256, found.size_bytes, found.format) == (path, SHA256, len(GGUF), "gguf")
    assert await folder.world.revision() == 1
    (told,) = await folder.said()
    assert told.payload["models"] == ["tiny"]
    (changed,) = await folder.world.events("models.changed")
    assert (changed.payload["id"], changed.payload["change"]) == ("tiny", "created")


async def test_the_same_again_changes_nothing_and_one_that_is_brought_no_more_stays(folder: Folder) -> None:
    await folder.holds(manifest(model(), entry("a")))
    folder.start()
    await folder.watch()
    assert await folder.world.revision() == 1
    await folder.holds(manifest(entry("a")))
    assert await folder.model() is not None


async def test_another_file_takes_the_place_of_what_is_registered(folder: Folder, tmp_path: Path) -> None:
    await folder.world.has(a_model())
    await folder.holds(manifest(model(), entry("a")))
    assert (await folder.model() or a_model()).sha256 == SHA256
    (tmp_path / "tiny.gguf").write_bytes(GGUF + b", more")
    await folder.watch()
    assert (await folder.model() or a_model()).sha256 == SHA256, "a manifest that did not change is not loaded again"
    folder.start()
    await folder.watch()
    assert (await folder.model() or a_model()).size_bytes == len(GGUF) + 6
    told = await folder.world.events("models.changed")
    assert [event.payload["change"] for event in told] == ["replaced", "replaced"]


async def test_a_file_that_lies_on_the_nodes_alone_is_taken_as_it_is_declared(folder: Folder) -> None:
    said = f'sha256 = "{"cd" * 32}"\nsize_bytes = 7\n'
    projector = f'projector = "/m/eye.gguf"\nprojector_sha256 = "{"ef" * 32}"\nprojector_size_bytes = 9\n'
    await folder.holds(manifest(model(path="/m/far.gguf", more=said + projector), entry("a")))
    found = await folder.model()
    assert found is not None
    assert (found.path, found.sha256, found.size_bytes) == ("/m/far.gguf", "cd" * 32, 7)
    assert found.projector == ModelPart("/m/eye.gguf", "ef" * 32, 9)


@pytest.mark.parametrize(
    ("brought", "why"),
    [
        (model(path="../missing.gguf"), "No such file"),
        (model(path="/proc/self"), "it is no plain file"),
        (model(path="~nobody-there/tiny.gguf"), "home directory"),
        (model(path="../watched/a.toml"), "it begins like no model that is known; say format"),
        (model(path="/m/far", more=f'sha256 = "{SHA256}"\nsize_bytes = 7\n'), "its name does not say what it is"),
        (model(more=f'sha256 = "{SHA256}"\nsize_bytes = 7\n'), "it does not have 7 bytes here"),
        (model(more=f'sha256 = "{SHA256}"\n'), "has sha256 or size_bytes, and not both"),
        (model(more='sha256 = "AB"\nsize_bytes = 7\n'), "models[0].sha256"),
        (model(more=f'projector_sha256 = "{SHA256}"\nprojector_size_bytes = 7\n'), "none is named"),
    ],
)
async def test_a_model_that_cannot_be_registered_is_refused_with_its_line(
    folder: Folder, brought: str, why: str
) -> None:
    await folder.holds(manifest(brought, entry("a")))
    (text,) = await folder.refusals()
    assert why in text
    assert "line " in text
    assert (await folder.runtimes(), await folder.model()) == ([], None)
    assert (await folder.watcher()).status is WatchStatus.DEGRADED


async def test_two_files_may_bring_the_same_model_and_not_two_under_one_id(folder: Folder, tmp_path: Path) -> None:
    folder.write(manifest(model()))
    await folder.holds(manifest(model(), entry("b")), "b.toml")
    assert await folder.runtimes() == ["b"]
    (tmp_path / "other.gguf").write_bytes(b"GGUF, other")
    await folder.holds(manifest(model(path="../other.gguf"), entry("b")), "b.toml")
    (text,) = await folder.refusals()
    assert f"{folder.path / 'a.toml'} brings another file as this model" in text
    assert (await folder.model() or a_model()).sha256 == SHA256


async def test_a_large_file_is_read_a_slice_at_a_time_and_nothing_is_told_as_wrong_meanwhile(
    folder: Folder, tmp_path: Path
) -> None:
    folder.slice_s = 0
    content = GGUF + bytes(9 << 20)
    (tmp_path / "tiny.gguf").write_bytes(content)
    folder.start()
    await folder.holds(manifest(model(), entry("a")))
    seen = await folder.watcher()
    assert seen.status is WatchStatus.OK
    assert "is being read: 44 %" in seen.summary
    for _ in range(2):
        await folder.watch()
        assert await folder.runtimes() == []
    await folder.watch()
    assert (await folder.model() or a_model()).sha256 == hashlib.sha256(content).hexdigest()
    assert (await folder.refusals(), await folder.health()) == ([], [])


async def test_a_file_that_changes_while_it_is_read_is_read_again(folder: Folder, tmp_path: Path) -> None:
    folder.slice_s = 0
    folder.start()
    await folder.holds(manifest(model(), entry("a")))
    other = GGUF + b", and more"
    (tmp_path / "tiny.gguf").write_bytes(other)
    for _ in range(3):
        await folder.watch()
    assert (await folder.model() or a_model()).sha256 == hashlib.sha256(other).hexdigest()


async def test_what_was_read_is_remembered_over_a_restart(folder: Folder, tmp_path: Path) -> None:
    await folder.holds(manifest(model(), entry("a")))
    kept = tmp_path / "watched-digests.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_text(kept.read_text().replace(SHA256, "12" * 32))
    folder.start()
    await folder.watch()
    assert (await folder.model() or a_model()).sha256 == "12" * 32, "taken from there, and not read again"
    kept.write_text("nonsense")
    folder.start()
    await folder.watch()
    assert (await folder.model() or a_model()).sha256 == SHA256
