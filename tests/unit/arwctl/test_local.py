from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from arw_client import ArwError
from arwctl.local import machine
from arwctl.local.leftovers import left
from arwctl.local.machine import Part, spoken
from arwctl.local.process import boot_id, completed, running, spawn, start_ticks, tail, until

SLEEPER = "import time; time.sleep(60)"
SERVING = """
import fcntl, json, os, signal, sys, time
from pathlib import Path
folder = Path(sys.argv[3]) / "part"
lock = (folder / "lock").open("a")
fcntl.flock(lock, fcntl.LOCK_EX)
mark = f"{os.fstat(lock.fileno()).st_dev}:{os.fstat(lock.fileno()).st_ino}"
ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
(folder / "run.json").write_text(json.dumps({"pid": os.getpid(), "start_ticks": ticks, "boot_id": boot, "lock": mark}))
time.sleep(60)
"""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", SLEEPER]) as process:
        yield process
        process.kill()


def record(path: Path, pid: int, ticks: int | None, boot: str, lock: str = "") -> Path:
    path.write_text(json.dumps({"pid": pid, "start_ticks": ticks, "boot_id": boot, "ports": {}, "lock": lock}))
    return path


@contextmanager
def held(lock: Path) -> Iterator[str]:
    """Its device and inode, while somebody holds it."""
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        seen = os.fstat(handle.fileno())
        yield f"{seen.st_dev}:{seen.st_ino}"


def test_a_process_is_running_only_with_its_own_start_time_and_boot(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    ticks, file = start_ticks(sleeper.pid), tmp_path / "run.json"
    with held(tmp_path / "lock") as mark:
        found = running(record(file, sleeper.pid, ticks, boot_id(), mark))
        assert found is not None
        assert found.pid == sleeper.pid
        assert running(record(file, sleeper.pid, ticks, boot_id())) == replace(found, lock=""), "as older ones wrote it"
        assert running(record(file, sleeper.pid, (ticks or 0) + 1, boot_id(), mark)) is None
        assert running(record(file, sleeper.pid, ticks, "another boot", mark)) is None
    sleeper.kill()
    while start_ticks(sleeper.pid) is not None:
        time.sleep(0.01)
    assert not found.alive, "a process that waits to be reaped is not running"
    found.send(signal.SIGKILL)


def test_a_record_of_a_living_stranger_names_nobody_while_the_lock_is_free(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    ticks, file, lock = start_ticks(sleeper.pid), tmp_path / "run.json", tmp_path / "lock"
    assert running(record(file, sleeper.pid, ticks, boot_id())) is None, "there is no lock at all"
    with held(lock) as mark:
        assert running(record(file, sleeper.pid, ticks, boot_id(), mark))
    assert running(record(file, sleeper.pid, ticks, boot_id(), mark)) is None
    assert running(record(file, sleeper.pid, ticks, boot_id())) is None
    with held(lock):
        pass  # asking left it free


def test_the_record_of_a_copied_folder_names_nobody_though_the_copy_is_in_use(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    ticks, copy = start_ticks(sleeper.pid), tmp_path / "copy"
    copy.mkdir()
    with held(tmp_path / "lock") as original, held(copy / "lock"):
        assert running(record(tmp_path / "run.json", sleeper.pid, ticks, boot_id(), original))
        assert running(record(copy / "run.json", sleeper.pid, ticks, boot_id(), original)) is None


async def test_stopping_a_copy_leaves_the_process_of_the_original_alone(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "lock").touch()
    record(tmp_path / "run.json", sleeper.pid, start_ticks(sleeper.pid), boot_id(), "1:1")
    assert await Part("program", tmp_path, tmp_path / "log", "control plane").stop() is None
    assert sleeper.poll() is None


@pytest.mark.parametrize("text", ["", "{}", '{"pid": "x", "start_ticks": 1, "boot_id": ""}', "[]", "\xff"])
def test_a_run_file_that_makes_no_sense_means_nothing_runs(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text, encoding="latin-1")
    assert running(tmp_path / "run.json") is None


def test_what_was_spawned_for_a_state_directory_is_found_until_it_ends(tmp_path: Path) -> None:
    process = spawn([sys.executable, "-c", SLEEPER, str(tmp_path / "x")], tmp_path / "log")
    person = subprocess.Popen([sys.executable, "-c", SLEEPER, str(tmp_path / "x")])
    try:
        assert os.getsid(process.pid) == process.pid
        assert list(left(tmp_path)) == [process.pid], "what a person runs in this session is not ours"
        assert left(tmp_path / "other") == {}
    finally:
        os.kill(process.pid, signal.SIGKILL)
        person.kill()
        person.wait()
    while process.poll() is None:
        time.sleep(0.01)
    assert process.poll() == -signal.SIGKILL
    assert left(tmp_path) == {}


async def test_a_part_that_ends_at_once_is_told_with_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = part_of(tmp_path, monkeypatch, "import sys; sys.exit('error: Port 7443 is taken.\\nnext:  Choose another.')")
    with pytest.raises(ArwError, match=r"control plane ended at once with status 1: Port 7443 is taken\.") as raised:
        await part.start(tmp_path)
    assert raised.value.remedy == "Choose another."
    assert raised.value.__notes__ == ["error: Port 7443 is taken.", "next:  Choose another."]


async def test_a_part_is_started_once_it_serves_and_stopped_by_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = part_of(tmp_path, monkeypatch, SERVING)
    started = await part.start(tmp_path)
    assert started == part.running
    assert await part.stop() == started.pid
    assert await part.stop() is None, "it is not running any more"


async def test_a_part_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "STOP_S", 0.3)
    stubborn = SERVING.replace("folder =", "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nfolder =")
    part = part_of(tmp_path, monkeypatch, stubborn)
    started = await part.start(tmp_path)
    assert await part.stop() == started.pid
    assert not started.alive


async def test_a_part_that_never_serves_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "START_S", 0.3)
    part = part_of(tmp_path, monkeypatch, SLEEPER)
    with pytest.raises(ArwError, match=r"did not serve within 0\.3 s"):
        await part.start(tmp_path)
    assert await until(lambda: left(tmp_path) == {}, 5)


async def test_a_part_that_waits_for_its_input_is_told_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = tmp_path / "said"
    part = part_of(tmp_path, monkeypatch, f"import sys; open({str(said)!r}, 'w').write(sys.stdin.read())\n{SERVING}")
    starting = part.begin(tmp_path, "join", given=None)
    starting.process.tell("where to\n")
    started = await starting.serving()
    await starting.abandon()
    assert started.alive, "what serves is not abandoned"
    assert said.read_text() == "where to\n"
    await part.stop()


async def test_a_part_that_waits_in_vain_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = part_of(tmp_path, monkeypatch, "import sys; sys.stdin.read()")
    starting = part.begin(tmp_path, "join", given=None)
    await starting.abandon()
    assert starting.process.poll() is not None
    assert left(tmp_path) == {}


def test_a_process_that_ended_hears_nothing_more(tmp_path: Path) -> None:
    process = spawn(["/bin/true"], tmp_path / "log", None)
    while process.poll() is None:
        time.sleep(0.01)
    process.tell("too late")


def part_of(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Part:
    """A part whose program is a script of ours."""
    (folder / "part").mkdir()
    wrapper = folder / "program"
    (folder / "script.py").write_text(script)
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} {folder / "script.py"} "$@"\n')
    wrapper.chmod(0o700)
    monkeypatch.setattr(machine, "program", lambda _name: str(wrapper))
    return Part("program", folder / "part", folder / "part" / "log", "control plane")


@pytest.mark.parametrize(
    ("lines", "reason", "remedy"),
    [
        (["error: Port 1 is taken.", "next:  Choose another: 2."], "Port 1 is taken.", "Choose another: 2."),
        (['{"event": "x"}', "error: It is taken.", "next:  Wait.", '{"event": "y"}'], "It is taken.", "Wait."),
        (["warning", "error: It broke."], "It broke.", ""),
        (["Traceback (most recent call last):", '  File "x"', "OSError: no"], "OSError: no", ""),
        (['{"event": "x"}'], "", ""),
        ([], "", ""),
    ],
)
def test_reason_and_remedy_are_read_from_what_a_program_said(lines: list[str], reason: str, remedy: str) -> None:
    assert spoken(lines) == (reason, remedy)


async def test_standard_input_reaches_a_command_and_its_words_come_back() -> None:
    script = "import sys; print(sys.stdin.read().upper(), file=sys.stderr); sys.exit(3)"
    assert await completed([sys.executable, "-c", script], "token") == (3, "TOKEN\n")


async def test_a_command_that_does_not_end_is_ended() -> None:
    status, said = await completed([sys.executable, "-c", SLEEPER], timeout_s=0.3)
    assert status != 0
    assert "did not end within 0.3 s" in said


def test_the_tail_of_a_log_begins_after_what_was_there_before(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\nnew 1\nnew 2\n")
    assert tail(log, since=4) == ["new 1", "new 2"]
    assert tail(tmp_path / "none") == []
