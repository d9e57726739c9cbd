from __future__ import annotations

from datetime import timedelta

from control_plane.sessions.full_report import FullReport
from tests.fakes.clock import NOON

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def test_what_is_missing_is_asked_for_once_in_an_interval() -> None:
    asked = FullReport(10 * SECOND)
    asked.expected(NOON)
    assert not asked.due(NOON + 9 * SECOND)
    assert asked.due(NOON + 10 * SECOND)
    assert not asked.due(NOON + 19 * SECOND)


def test_a_clock_that_is_set_puts_no_asking_off() -> None:
    for jump in (HOUR, -HOUR):
        asked = FullReport(10 * SECOND)
        asked.expected(NOON)
        assert asked.due(NOON + jump)
        assert not asked.due(NOON + jump + SECOND)
