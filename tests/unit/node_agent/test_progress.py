"""When silence is a stall."""

from datetime import timedelta

import pytest

from node_agent.domain.progress import Sign, Traffic, stall, works
from node_agent.domain.timers import REAL


def cpu(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


@pytest.mark.parametrize(("waited", "slow", "final"), [(59, False, False), (60, True, False), (120, True, True)])
def test_the_first_byte_may_take_two_minutes_and_counts_as_slow_after_one(
    waited: float, slow: bool, final: bool
) -> None:
    found = stall(Traffic(1, since=1000.0), worked=0.0, now=1000.0 + waited, timers=REAL)
    assert (found is not None, found is not None and found.final) == (slow, final)


@pytest.mark.parametrize(("quiet", "slow", "final"), [(29, False, False), (30, True, False), (60, True, True)])
def test_an_answer_may_pause_for_a_minute(quiet: float, slow: bool, final: bool) -> None:
    found = stall(Traffic(1, 1000.0, last_byte=2000.0, answering=True), worked=0.0, now=2000.0 + quiet, timers=REAL)
    assert (found is not None, found is not None and found.final) == (slow, final)


def test_a_request_that_queues_behind_answers_is_no_stall() -> None:
    assert stall(Traffic(5, 1000.0, last_byte=1495.0, answering=True), worked=0.0, now=1500.0, timers=REAL) is None


def test_what_waits_for_its_client_is_no_stall_of_the_engine() -> None:
    assert stall(Traffic(1, 0.0, 1.0, answering=True, held=True), worked=0.0, now=5000.0, timers=REAL) is None


def test_work_that_was_seen_starts_the_deadline_again() -> None:
    assert stall(Traffic(1, since=0.0), worked=4990.0, now=5000.0, timers=REAL) is None


def test_the_engines_own_word_counts_more_than_the_time_that_it_burns() -> None:
    assert works(Sign(0, "a", cpu(0)), Sign(10, "b", cpu(0)))
    assert not works(Sign(0, "a", cpu(0)), Sign(10, "a", cpu(10)))


def test_without_a_word_processor_time_tells_work_from_waiting() -> None:
    assert works(Sign(0, None, cpu(5)), Sign(10, None, cpu(7)))
    assert not works(Sign(0, None, cpu(5)), Sign(10, None, cpu(5.2)))
    assert works(Sign(0, "a", cpu(5)), Sign(10, None, cpu(7)))
