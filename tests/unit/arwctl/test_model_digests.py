"""A model file is read once, and again whenever it may have changed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arwctl.model_digests import AT_MOST, FOLDER, Mark, ModelDigests
from arwctl.model_file import measured

MINUTE_NS = 60_000_000_000
WRITER = """
import sys
from pathlib import Path
from arwctl.model_digests import Mark, ModelDigests
digests = ModelDigests(Path(sys.argv[1]))
for size in range(300):
    digests.remember(Mark(1, size % 3, size, 0, 0), f"{size:064d}")
"""


def digests_in(folder: Path, later_ns: int = MINUTE_NS) -> ModelDigests:
    """As they are a while from now."""
    return ModelDigests(folder, lambda: time.time_ns() + later_ns)


class Reading:
    """What was read of a file."""

    def __init__(self, path: Path, digests: ModelDigests) -> None:
        self.steps: list[tuple[int, int]] = []
        self.found = measured(path, lambda done, total: self.steps.append((done, total)), digests)
        assert self.found.size_bytes == path.stat().st_size

    @property
    def right(self) -> bool:
        return self.found.sha256 == hashlib.sha256(self.found.path.read_bytes()).hexdigest()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF weights")
    return path


def test_a_file_is_read_once_and_known_to_the_next_command(model: Path, tmp_path: Path) -> None:
    first = Reading(model, digests_in(tmp_path))
    assert (first.right, first.steps) == (True, [(12, 12)])
    again = Reading(model, digests_in(tmp_path))
    assert (again.found, again.steps) == (first.found, [])


def test_a_file_under_another_name_is_known(model: Path, tmp_path: Path) -> None:
    Reading(model, digests_in(tmp_path))
    time_before = model.stat().st_ctime_ns
    renamed = model.rename(tmp_path / "renamed.gguf")
    reading = Reading(renamed, digests_in(tmp_path))
    assert reading.right
    assert bool(reading.steps) == (renamed.stat().st_ctime_ns != time_before), "some file systems count it as a change"


def test_a_change_that_hides_its_time_and_size_is_noticed(model: Path, tmp_path: Path) -> None:
    Reading(model, digests_in(tmp_path))
    seen = model.stat()
    model.write_bytes(b"GGUF forgery")
    os.utime(model, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert Reading(model, digests_in(tmp_path)).right


def test_a_file_that_only_just_changed_is_not_remembered(model: Path, tmp_path: Path) -> None:
    """A second change within the same tick of its clock could not be seen."""
    for _ in range(2):
        assert Reading(model, digests_in(tmp_path, later_ns=0)).steps
    assert Reading(model, digests_in(tmp_path)).steps
    assert not Reading(model, digests_in(tmp_path)).steps


def test_a_file_from_the_future_is_not_remembered(model: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert Reading(model, digests_in(tmp_path, later_ns=-MINUTE_NS)).steps


def test_a_file_that_changes_while_it_is_read_is_not_remembered(model: Path, tmp_path: Path) -> None:
    measured(model, lambda _done, _total: os.utime(model), digests_in(tmp_path))
    assert Reading(model, digests_in(tmp_path)).steps


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sha256": "f"}', '{"sha256": "f", "mark": {}}', "\xff"])
def test_a_damaged_memory_costs_a_reading(model: Path, tmp_path: Path, text: str) -> None:
    Reading(model, digests_in(tmp_path))
    (file,) = (tmp_path / FOLDER).iterdir()
    file.write_text(text, encoding="latin-1")
    reading = Reading(model, digests_in(tmp_path))
    assert (reading.right, bool(reading.steps)) == (True, True)
    assert not Reading(model, digests_in(tmp_path)).steps, "it was mended"


def test_where_nothing_can_be_written_files_are_read_each_time(model: Path, tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("in the way")
    for _ in range(2):
        assert Reading(model, digests_in(tmp_path)).right


def test_only_so_many_are_remembered_and_the_oldest_go_first(tmp_path: Path) -> None:
    digests = ModelDigests(tmp_path)
    first = Mark(1, 0, 1, 1, 1)
    digests.remember(first, "f")
    (oldest,) = (tmp_path / FOLDER).iterdir()
    os.utime(oldest, ns=(0, 0))
    for inode in range(1, AT_MOST + 1):
        digests.remember(Mark(1, inode, 1, 1, 1), "f")
    assert len(list((tmp_path / FOLDER).iterdir())) == AT_MOST
    assert digests.known(first) is None
    assert digests.known(Mark(1, AT_MOST, 1, 1, 1)) == "f"


def test_commands_at_the_same_time_leave_whole_records(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)]) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    files = list((tmp_path / FOLDER).iterdir())
    assert len(files) == 3, "and no unfinished file"
    for file in files:
        found = json.loads(file.read_text())
        assert int(found["sha256"]) == found["mark"]["size_bytes"]
