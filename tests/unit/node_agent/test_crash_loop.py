"""An agent that dies again and again stops to act, and says so."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from node_agent.disk.starts import Starts
from node_agent.domain.crash_loop import CrashTimers
from node_agent.domain.inventory import Inventory
from node_agent.main import REFUSED
from node_agent.runtimes.safe_mode import GuardedHardware, SafeMode
from tests.fakes.leaky_hardware import LeakyHardware

NEVER = CrashTimers(timedelta(hours=1), timedelta(hours=1))
SOON = CrashTimers(timedelta(milliseconds=10), timedelta(milliseconds=10))


def started(folder: Path, timers: CrashTimers = NEVER) -> SafeMode:
    return SafeMode("box", Starts(folder / "starts.json"), timers)


def test_three_starts_that_died_make_the_fourth_one_safe(tmp_path: Path) -> None:
    assert [started(tmp_path).hands_off() for _ in range(4)] == [False, False, False, True]
    problem = started(tmp_path).problem()
    assert problem is not None
    assert (problem.reason, problem.metadata) == ("AGENT_SAFE_MODE", {"died": "4"})


def test_an_end_in_good_order_is_no_death_but_leaves_safe_mode_as_it_is(tmp_path: Path) -> None:
    for _ in range(10):
        mode = started(tmp_path)
        assert not mode.hands_off()
        mode.ended_in_order()
    for _ in range(3):
        started(tmp_path)
    started(tmp_path).ended_in_order()
    assert started(tmp_path).hands_off()


async def test_a_start_that_lives_for_a_minute_is_no_part_of_a_loop(tmp_path: Path) -> None:
    for _ in range(2):
        started(tmp_path)
    mode = started(tmp_path, SOON)
    await mode.run()
    assert not started(tmp_path).hands_off()


async def test_after_ten_quiet_minutes_it_acts_again_and_the_node_takes_new_work(tmp_path: Path) -> None:
    for _ in range(3):
        started(tmp_path)
    mode = started(tmp_path, SOON)
    guarded = GuardedHardware(LeakyHardware(), mode)
    told: list[Inventory] = []
    guarded.on_change(told.append)
    closed = (await guarded.inventory()).limits.closed
    assert closed is not None
    assert closed.reason == "AGENT_SAFE_MODE"
    await mode.run()
    assert not mode.hands_off()
    assert [inventory.limits.closed for inventory in told] == [None]
    assert not started(tmp_path).hands_off()


def test_a_note_that_makes_no_sense_or_cannot_be_written_keeps_no_agent_from_starting(tmp_path: Path) -> None:
    (tmp_path / "starts.json").write_text("nonsense")
    assert not started(tmp_path).hands_off()
    assert not started(tmp_path / "gone").hands_off()


def test_a_persons_word_leaves_safe_mode(tmp_path: Path) -> None:
    state = tmp_path / "node_agent"
    state.mkdir(mode=0o700)
    for _ in range(3):
        started(state)
    program = Path(sys.executable).with_name("arw-node-agent")
    words = [str(program), "run", "--leave-safe-mode", "--state-dir", str(tmp_path)]
    assert subprocess.run(words, check=False, capture_output=True).returncode == REFUSED, "it has not joined yet"
    assert not started(state).hands_off()
