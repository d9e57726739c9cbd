from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.checkup import Grade, _kept, _profiles, _switches
from control_plane.process.environment import environment_of
from control_plane.process.run_file import start_ticks
from control_plane.settings import Paths, Settings


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    paths.directory.mkdir()
    return paths


@pytest.fixture
def served(paths: Paths) -> Iterator[int]:
    """The pid of a process that stands for a control plane which was told things."""
    told = {"ARW_EVENTS_DAYS": "7", "ARW_EVENT_ROWS": "5", "ARW_LLAMA_URL": "http://127.0.0.1:1", "OTHER": "x"}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=told) as process:
        paths.run.write_text(json.dumps({"pid": process.pid, "start_ticks": start_ticks(process.pid)}))
        yield process.pid
        process.kill()


def test_what_counts_is_what_the_control_plane_was_told_and_not_who_asks(paths: Paths, served: int) -> None:
    environment, pid = environment_of(paths.run)
    assert (pid, environment["ARW_EVENTS_DAYS"]) == (served, "7")
    assert _kept(paths, Settings()) == "kept for 7 days, 1000000 at most"


def test_a_process_that_only_has_the_pid_is_not_asked(paths: Paths) -> None:
    paths.run.write_text(json.dumps({"pid": os.getpid(), "start_ticks": 1}))
    assert environment_of(paths.run) == (os.environ, 0)
    paths.run.write_text("nonsense")
    assert environment_of(paths.run) == (os.environ, 0)


def test_a_switch_that_nobody_knows_is_named_with_what_was_meant(paths: Paths, served: int) -> None:
    wrong, told = _switches(paths)
    assert (wrong.grade, told.grade) == (Grade.WARN, Grade.OK)
    assert (
        wrong.text == f"ARW_EVENT_ROWS is set for the control plane, process {served}, and says nothing to this version"
    )
    assert wrong.remedy.startswith("Did you mean ARW_EVENTS_ROWS?")
    assert told.text == f"ARW_EVENTS_DAYS told to the control plane, process {served}"


def test_profiles_of_the_operators_own_are_looked_at(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARW_RUNTIME_PROFILES", raising=False)
    assert list(_profiles(paths)) == []
    monkeypatch.setenv("ARW_RUNTIME_PROFILES", str(tmp_path / "own"))
    (missing,) = _profiles(paths)
    assert (missing.grade, missing.text.endswith("own, which is no folder")) == (Grade.WARN, True)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "ours.toml").write_text("version = 1\n")
    (tmp_path / "own" / "bad.toml").write_text("version = 1\nflag = 1\n")
    wrong, told = _profiles(paths)
    assert (wrong.grade, "line 2: flag: is not known" in wrong.text) == (Grade.WARN, True)
    assert (told.grade, told.text) == (Grade.OK, f"1 in {tmp_path / 'own'}, beside 15 shipped ones")
