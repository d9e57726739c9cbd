import fcntl
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from node_agent.domain.observed import launch_key
from node_agent.domain.spec import EngineSettings, ExecutionMode, ExecutionSettings, RestartPolicy
from node_agent.runtimes.adoption import adopt
from node_agent.runtimes.directory import ForeignFileError, InstanceDirectory
from node_agent.runtimes.memory import Memory
from node_agent.runtimes.process import Process, boot_id, start_ticks
from node_agent.runtimes.records import RunRecord, StateRecord
from node_agent.runtimes.tree import Tree, holds_lock, lock_holders
from tests.fakes.instance_specs import NAME, spec

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> InstanceDirectory:
    directory = InstanceDirectory.of(tmp_path, NAME)
    directory.prepare()
    return directory


def forged(home: InstanceDirectory, **changes: Any) -> RunRecord:
    """A run.json that names a process which is not ours."""
    run = RunRecord(1, boot_id(), 1, start_ticks(1) or 0, 1, start_ticks(1) or 0, "none")
    return replace(run, **changes)


def place(home: InstanceDirectory, record: RunRecord) -> None:
    values = {name: getattr(record, name) for name in record.__slots__}
    (home.path / "run.json").write_text(json.dumps(values))
    (home.path / "run.json").chmod(0o600)
    home.save(StateRecord(NAME, incarnation=record.incarnation))


def test_a_directory_is_named_by_its_runtime(tmp_path: Path) -> None:
    assert InstanceDirectory.of(tmp_path, NAME).path == tmp_path / "demo__tiny"


def test_it_is_for_this_user_alone(home: InstanceDirectory) -> None:
    assert home.path.stat().st_mode & 0o777 == 0o700
    home.path.chmod(0o755)
    with pytest.raises(ForeignFileError):
        home.prepare()


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "demo__tiny").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ForeignFileError):
        InstanceDirectory.of(tmp_path, NAME).prepare()


def test_records_come_back_as_they_went(home: InstanceDirectory) -> None:
    state = StateRecord(NAME, incarnation=3, restarts=(1.5, 2.5), restore_serial=7, ready_time=9.0)
    home.save(state)
    assert home.state() == state
    assert (home.path / "state.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"incarnation": "many"}', b"\xff\xfe", b'{"incarnation": 1}'])
def test_a_broken_record_counts_as_absent(home: InstanceDirectory, content: bytes) -> None:
    (home.path / "run.json").write_bytes(content)
    assert home.run() is None


def test_a_record_behind_a_link_or_open_to_others_is_not_read(home: InstanceDirectory, tmp_path: Path) -> None:
    place(home, forged(home))
    assert home.run() is not None
    (home.path / "run.json").chmod(0o666)
    assert home.run() is None
    (home.path / "run.json").rename(tmp_path / "run.json")
    (tmp_path / "run.json").chmod(0o600)
    (home.path / "run.json").symlink_to(tmp_path / "run.json")
    assert home.run() is None


def test_a_pipe_in_the_place_of_a_record_does_not_block(home: InstanceDirectory) -> None:
    os.mkfifo(home.path / "run.json", 0o600)
    assert home.run() is None


def test_each_launch_gets_another_key_in_a_file_of_this_user(home: InstanceDirectory) -> None:
    first, second = home.new_key(), home.new_key()
    assert first != second == home.key()
    assert home.key_file.stat().st_mode & 0o777 == 0o600


async def test_a_forged_record_makes_nothing_of_init(home: InstanceDirectory) -> None:
    place(home, forged(home))
    found = await adopt(home, never)
    assert found.running is None
    assert start_ticks(1) is not None


def never() -> None:
    raise AssertionError("nothing here survives SIGKILL")


async def test_a_record_of_another_boot_is_never_compared_with_processes(home: InstanceDirectory) -> None:
    place(home, forged(home, boot_id="another", engine_pid=os.getpid(), engine_start_ticks=start_ticks(os.getpid())))
    found = await adopt(home, never)
    assert (found.running, found.rebooted) == (None, True)


async def test_our_own_agent_is_not_an_engine(home: InstanceDirectory) -> None:
    place(home, forged(home, engine_pid=os.getpid(), engine_start_ticks=start_ticks(os.getpid())))
    assert (await adopt(home, never)).running is None


@pytest.mark.parametrize("path", ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/../x", "/etc"])
def test_a_forged_cgroup_is_not_believed(home: InstanceDirectory, path: str) -> None:
    tree = Tree(home, forged(home, cgroup="v2", cgroup_paths=(path,)))
    assert tree.members() == set()


def test_a_pid_with_another_start_time_is_not_held() -> None:
    assert Process.hold(os.getpid(), 1) is None
    process = Process.hold(os.getpid(), start_ticks(os.getpid()) or 0)
    assert process is not None
    assert not process.ended
    process.release()


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1, 2**70])
def test_a_pid_that_cannot_be_is_nobody(pid: int) -> None:
    assert Process.hold(pid, 1) is None


def test_the_lock_tells_whether_something_still_runs(home: InstanceDirectory) -> None:
    assert home.lock_is_free()
    with home.lock.open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert not home.lock_is_free()
    assert home.lock_is_free()


@pytest.mark.parametrize(("takes", "holds"), [("LOCK_EX", True), ("LOCK_UN", False)])
def test_who_merely_reads_the_lock_as_a_backup_does_belongs_to_no_launch(
    home: InstanceDirectory, takes: str, holds: bool
) -> None:
    code = f"import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.{takes}); print(flush=True); input()"
    home.lock.touch()
    command = [sys.executable, "-c", code, str(home.lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        assert (lock_holders(home.lock) == {other.pid}) is holds
        assert holds_lock(other.pid, home.lock) is holds
        assert home.lock_is_free() is not holds
        other.kill()


async def test_a_launch_without_a_run_record_never_ran(home: InstanceDirectory) -> None:
    home.save(StateRecord(NAME, incarnation=2, settled=1))
    assert (await adopt(home, never)).never_ran
    place(home, forged(home))
    home.save(StateRecord(NAME, incarnation=2, settled=1))
    assert (await adopt(home, never)).never_ran


def test_an_attempt_counts_once_it_has_a_number(home: InstanceDirectory) -> None:
    memory, later = Memory(NAME, home), Memory(NAME, home)
    memory.reserve()
    memory.spend(RestartPolicy(), NOW)
    memory.attempted("key")
    memory.acknowledge(3)
    later.recall()
    assert (later.record.restarts, later.record.launch_key, later.record.restore_serial) == ((), "", 3)
    assert (len(memory.record.restarts), memory.record.launch_key) == (1, "key")
    memory.reserve()
    later.recall()
    assert (len(later.record.restarts), later.record.launch_key, later.record.incarnation) == (1, "key", 2)


def test_an_attempt_that_came_to_nothing_counts_too(home: InstanceDirectory) -> None:
    memory, later = Memory(NAME, home), Memory(NAME, home)
    memory.spend(RestartPolicy(), NOW)
    memory.stopped()
    later.recall()
    assert len(later.record.restarts) == 1


def test_a_budget_that_is_reset_forgets_the_attempt_in_hand(home: InstanceDirectory) -> None:
    memory, later = Memory(NAME, home), Memory(NAME, home)
    memory.spend(RestartPolicy(), NOW)
    memory.reset_budget()
    memory.reserve()
    later.recall()
    assert later.record.restarts == ()


def test_a_directory_that_says_another_name_is_nobodys(home: InstanceDirectory) -> None:
    assert not home.is_named()
    home.save(StateRecord("nodes/n/instances/other"))
    assert not home.is_named()
    home.save(StateRecord(NAME))
    assert home.is_named()


def test_of_two_berths_the_one_with_the_last_launch_counts(home: InstanceDirectory) -> None:
    second = home.berth(beside=True)
    second.prepare()
    assert (home.current().path, second.logs, second.agent) == (home.path, home.logs, home.agent)
    assert home.cgroup_leaf(1) != second.cgroup_leaf(1)
    home.save(StateRecord(name=NAME, beside=True))
    assert home.current().path == second.path


def test_what_a_launch_was_made_from_is_read_back_whole_and_only_for_that_launch(home: InstanceDirectory) -> None:
    execution = ExecutionSettings(frozenset(ExecutionMode), ExecutionMode.NATIVE)
    made = spec(execution=execution, settings=EngineSettings(slots=2, warm_up_prompts=("a",)))
    home.save(made)
    assert home.spec(launch_key(made)) == made
    assert home.spec(launch_key(spec())) is None
    home.vacate()
    assert home.spec(launch_key(made)) is None


def test_a_launch_beside_another_counts_once_it_has_its_place(home: InstanceDirectory) -> None:
    memory = Memory(NAME, home)
    assert memory.reserve() == 1
    assert memory.reserve_beside() == 2
    assert (home.state().incarnation, home.state().beside) == (1, False)
    memory.refuses("2 key", None)
    memory.succeeded(2, "key", NOW)
    assert (home.state().incarnation, home.state().beside, home.state().launch_key) == (2, True, "key")
    assert home.state().refused == ""
    assert memory.reserve_beside() == 3
    assert memory.reserve() == 4, "a number is given once"
