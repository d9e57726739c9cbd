"""Logs as one archive."""

import stat
import tarfile
from pathlib import Path

import pytest

from arwctl.log_archive import LogArchive


def test_each_launch_is_one_file_for_nobody_else_to_read(tmp_path: Path) -> None:
    path = tmp_path / "logs.tar.gz"
    with LogArchive(path, "demo__tiny") as made:
        for incarnation, data in ((1, b"a\n"), (1, b"b\n"), (4, b"c\n")):
            made.add(incarnation, data)
    with tarfile.open(path) as archive:
        found = {entry.name: file.read() for entry in archive if (file := archive.extractfile(entry))}
    assert found == {"demo__tiny/launch-1.log": b"a\nb\n", "demo__tiny/launch-4.log": b"c\n"}
    assert (made.launches, made.size_bytes) == (2, 6)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["logs.tar.gz"]


def cut_short(path: Path) -> None:
    with LogArchive(path, "tiny") as made:
        made.add(1, b"new\n")
        raise ConnectionError("the node is gone")


def test_an_archive_that_is_cut_short_leaves_the_old_one_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "logs.tar.gz"
    path.write_bytes(b"old")
    with pytest.raises(ConnectionError):
        cut_short(path)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["logs.tar.gz"]
