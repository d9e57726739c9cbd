from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import pytest

from node_agent.domain.errors import AlreadyRunning, DirectoryCopied
from node_agent.identity.files import NodeIdentity
from node_agent.running_agent import RunRecord, end, locked, own_record, recorded, settled_here, sole_agent
from node_agent.runtimes.process import boot_id, start_ticks
from node_agent.settings import StateDirectory


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path)


def write(state: StateDirectory, record: RunRecord) -> None:
    state.run_record.write_text(json.dumps(asdict(record)))


def test_a_running_agent_is_known_by_pid_start_and_boot(state: StateDirectory) -> None:
    with locked(state):
        write(state, own_record())
        assert recorded(state) == own_record()


def test_a_record_of_a_living_stranger_names_nobody_while_the_lock_is_free(state: StateDirectory) -> None:
    write(state, own_record())
    assert recorded(state) is None, "there is no lock at all"
    with sole_agent(state) as record:
        pass
    write(state, record)
    assert recorded(state) is None
    with locked(state):
        assert recorded(state) == record, "asking left it free"


@pytest.mark.parametrize(
    "changed", [{"start_ticks": 1}, {"boot_id": "another boot"}, {"pid": 2**22 - 1}], ids=["start", "boot", "pid"]
)
def test_a_process_that_only_shares_a_part_is_not_it(state: StateDirectory, changed: dict[str, object]) -> None:
    with locked(state):
        write(state, replace(own_record(), **changed))  # type: ignore[arg-type]
        assert recorded(state) is None


def test_a_damaged_record_names_nobody(state: StateDirectory) -> None:
    state.run_record.write_text('{"pid": 1}')
    assert recorded(state) is None


def test_a_second_agent_is_refused_with_the_pid_of_the_first(state: StateDirectory) -> None:
    with sole_agent(state), pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"), locked(state):
        pytest.fail("the lock was given twice")


def test_a_clean_end_leaves_no_record(state: StateDirectory) -> None:
    with sole_agent(state) as record:
        assert record.alive
    assert not state.run_record.exists()
    with locked(state):
        assert recorded(state) is None


def test_a_copied_record_does_not_name_an_agent_of_the_copy(tmp_path: Path) -> None:
    with sole_agent(StateDirectory(tmp_path)) as record:
        copy = StateDirectory(tmp_path / "copy")
        copy.path.mkdir()
        write(copy, record)
        copy.lock.touch()
        assert recorded(StateDirectory(tmp_path)) == record
        assert recorded(copy) is None


def joined(state: StateDirectory, installation: str) -> StateDirectory:
    state.path.mkdir()
    identity = NodeIdentity("n", "domain", "h:1", "h:2", installation)
    (state.path / "identity.json").write_text(json.dumps(asdict(identity)))
    return state


def test_a_copied_directory_is_refused_while_the_first_is_in_use_and_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    first, other = (joined(StateDirectory(tmp_path / name), name) for name in ("first", "other"))
    with sole_agent(first), sole_agent(other):
        copy = StateDirectory(shutil.copytree(first.path, tmp_path / "copy"))
        with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}") as refused, sole_agent(copy):
            pytest.fail("one identity was used twice")
        assert "join --force" in refused.value.remedy
    with pytest.raises(DirectoryCopied), sole_agent(copy):
        pytest.fail("the copy came to life once the original had ended")
    assert recorded(copy) is None
    shutil.rmtree(first.path)
    settled_here(copy)
    with sole_agent(copy):
        assert recorded(copy)
    assert list(tmp_path.glob("*.lock")) == [], "nothing is left"


async def test_a_process_that_ignores_the_request_is_killed() -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)  # noqa: ASYNC220 - the test's own
    assert child.stdout
    child.stdout.readline()
    record = RunRecord(child.pid, start_ticks(child.pid) or 0, boot_id())
    assert await end(record, timedelta(milliseconds=200))
    assert child.wait(5) == -9
    child.stdout.close()
    assert not await end(record, timedelta(milliseconds=200))


async def test_a_process_that_took_over_the_pid_is_left_alone() -> None:
    record = replace(own_record(), start_ticks=1)
    assert not await end(record, timedelta(milliseconds=10))
