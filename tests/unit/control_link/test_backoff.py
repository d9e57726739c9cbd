from __future__ import annotations

from datetime import timedelta

import pytest

from node_agent.control_link.backoff import Backoff

CAP = timedelta(seconds=10)


def test_delays_double_up_to_the_cap() -> None:
    backoff = Backoff(CAP, lambda: 1.0)
    delays = [backoff.delay().total_seconds() for _ in range(7)]
    assert delays == [0.5, 1, 2, 4, 8, 10, 10]


def test_the_jitter_is_full() -> None:
    assert Backoff(CAP, lambda: 0.0, failures=9).delay() == timedelta()
    assert Backoff(CAP, lambda: 0.25, failures=9).delay() == timedelta(seconds=2.5)


def test_another_replica_is_tried_within_a_second_however_often_one_failed() -> None:
    assert Backoff(CAP, lambda: 0.25, failures=9).elsewhere() == timedelta(milliseconds=250)
    assert Backoff(CAP, lambda: 1.0, failures=9).elsewhere() == timedelta(seconds=1)
    assert Backoff(timedelta(milliseconds=100), lambda: 1.0).elsewhere() == timedelta(milliseconds=100)


def test_a_settled_connection_starts_over() -> None:
    backoff = Backoff(CAP, lambda: 1.0, failures=9)
    backoff.settled()
    assert backoff.delay() == timedelta(milliseconds=500)


@pytest.mark.parametrize("failures", [100, 10_000])
def test_a_week_without_contact_does_not_overflow(failures: int) -> None:
    assert Backoff(CAP, lambda: 1.0, failures=failures).delay() == CAP
