"""The one file of a backup: whole or refused."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from control_plane.domain.errors import AlreadyExists, InvalidArgument, StorageUnavailable
from control_plane.store import backup_archive
from control_plane.store.backup_archive import Contents, opened, pack
from tests.fakes.store_rows import NOON

CONTENTS = Contents("0.1.0", NOON, "domain", "sqlite", "0001", "history", 7)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / f"source-{name}" for name in ("arw.db", "ca.key")}
    for name, path in made.items():
        path.write_bytes(name.encode() * 5000)
    return made


@pytest.fixture
def file(tmp_path: Path, files: dict[str, Path]) -> Path:
    pack(tmp_path / "backup", CONTENTS, files, force=False)
    return tmp_path / "backup"


def unpacked(file: Path, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    with opened(file) as archive:
        for name in archive.manifest.parts:
            archive.unpack(name, folder / name, lambda *_: None)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_backup_gives_back_what_it_took_and_is_the_owners_alone(
    file: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    assert unpacked(file, tmp_path / "out") == {name: path.read_bytes() for name, path in files.items()}
    with opened(file) as archive:
        assert archive.manifest.contents == CONTENTS
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o600}


def test_a_file_that_is_there_is_replaced_only_by_force(file: Path, files: dict[str, Path]) -> None:
    before = file.read_bytes()
    with pytest.raises(AlreadyExists) as refused:
        pack(file, CONTENTS, {}, force=False)
    assert "--force" in refused.value.remedy
    assert file.read_bytes() == before
    pack(file, CONTENTS, {"ca.key": files["ca.key"]}, force=True)
    with opened(file) as archive:
        assert list(archive.manifest.parts) == ["ca.key"]


def test_every_byte_that_changes_a_part_or_the_manifest_is_noticed(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    with tarfile.open(file) as tar:
        places = [member.offset_data + member.size // 2 for member in tar.getmembers()]
    for number, place in enumerate(places):
        broken = bytearray(whole)
        broken[place] ^= 1
        file.write_bytes(broken)
        with pytest.raises(InvalidArgument) as refused:
            unpacked(file, tmp_path / str(number))
        assert refused.value.remedy


@pytest.mark.parametrize("length", [0, 100, 600, 3000, 9000])
def test_a_backup_that_was_cut_off_is_refused(file: Path, tmp_path: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(InvalidArgument):
        unpacked(file, tmp_path / "out")


def test_what_is_no_backup_is_refused(tmp_path: Path, files: dict[str, Path]) -> None:
    other = tmp_path / "other.tar"
    with tarfile.open(other, "w") as tar:
        tar.add(files["ca.key"], "ca.key")
    for path in (files["ca.key"], other, tmp_path, tmp_path / "none"):
        with pytest.raises(InvalidArgument) as refused, opened(path):
            pass
        assert refused.value.remedy


def test_a_backup_in_a_newer_form_is_refused(
    tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as later:
        later.setattr(backup_archive, "VERSION", 2)
        pack(tmp_path / "newer", CONTENTS, files, force=False)
    with pytest.raises(StorageUnavailable, match="does not know"), opened(tmp_path / "newer"):
        pass


def test_a_backup_that_cannot_be_finished_leaves_nothing(tmp_path: Path, files: dict[str, Path]) -> None:
    with pytest.raises(StorageUnavailable) as refused:
        pack(tmp_path / "none" / "backup", CONTENTS, files, force=False)
    assert "folder" in refused.value.remedy
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(StorageUnavailable):
        pack(folder / "backup", CONTENTS, {"gone": tmp_path / "gone"}, force=False)
    assert list(folder.iterdir()) == []
