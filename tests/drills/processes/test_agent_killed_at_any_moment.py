"""The agent killed at any moment, under load, with the pids of whoever ended given to others at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.fakes.bystanders import Bystanders
from tests.fakes.kill_storm import kill_storm
from tests.fakes.storm_watch import OK

KILLS = 100
SEED = int(os.environ.get("ARW_KILLS_SEED", "1"))
pytestmark = [pytest.mark.alone, pytest.mark.timeout(180)]


def test_f1_an_agent_killed_at_any_moment_leaves_no_orphan_no_double_and_signals_nobody_else() -> None:
    with kill_storm(SEED) as storm:
        can_choose = not storm.bystanders.refusal()
        storm.endure(KILLS)
        assert storm.crashes.total() > KILLS // 10
        assert storm.launches() > KILLS // 4
        assert storm.bystanders.taken > KILLS // 4 or not can_choose
        assert storm.watch.answers.keys() == {OK}
        assert storm.watch.answers[OK] > KILLS


def test_f41_whoever_has_the_pid_of_one_that_ended_tells_of_any_signal(tmp_path: Path) -> None:
    bystanders = Bystanders(tmp_path)
    refusal = bystanders.refusal()
    if refusal:
        bystanders.end()
        pytest.skip(f"pids cannot be chosen here: {refusal}")
    warned, killed, spared = (ended() for _ in range(3))
    for pid in (warned, killed, spared):
        assert bystanders.take(pid, tmp_path / "lock") == "taken"
    os.kill(killed, signal.SIGKILL)
    os.kill(warned, signal.SIGTERM)
    assert bystanders.end() == {str(warned): "got signal 15", str(killed): "ended, status 9"}


def ended() -> int:
    """The pid of a process that is no more."""
    pid = os.posix_spawn("/bin/true", ["/bin/true"], {})
    os.waitpid(pid, 0)
    return pid
