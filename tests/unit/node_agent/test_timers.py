from __future__ import annotations

from datetime import timedelta

import pytest

from node_agent.domain.timers import REAL, TEST, Timers


@pytest.mark.parametrize(("starting_for_ms", "pause_ms"), [(-5, 20), (0, 20), (150, 20), (400, 40), (60_000, 100)])
def test_a_quick_start_is_seen_soon_and_a_long_one_is_left_in_peace(starting_for_ms: int, pause_ms: int) -> None:
    pause = REAL.ready_pause(timedelta(milliseconds=starting_for_ms))
    assert pause == timedelta(milliseconds=pause_ms)


@pytest.mark.parametrize("timers", [REAL, TEST])
def test_no_pause_is_longer_than_the_profile_says(timers: Timers) -> None:
    assert timers.ready_pause(timedelta(hours=1)) == timers.ready_poll


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


@pytest.mark.parametrize(
    ("model_bytes", "bytes_per_second", "deadline_s"),
    [
        (0, None, 60),
        (4_000_000_000, None, 100),
        (4_000_000_000, 2_000_000_000, 100),
        (4_000_000_000, 50_000_000, 60 + 2 * 80),
        (4_000_000_000, 1_000, 60 + 400),
        (0, 1_000, 60),
    ],
)
def test_a_start_may_take_as_long_as_its_model_takes_to_read_here(
    model_bytes: int, bytes_per_second: int | None, deadline_s: float
) -> None:
    assert REAL.start_deadline(model_bytes, bytes_per_second) == seconds(deadline_s)


def test_what_took_long_before_may_take_three_times_as_long_and_what_was_quick_keeps_its_deadline() -> None:
    assert REAL.start_deadline(0, slowest_load=seconds(200)) == seconds(600)
    assert REAL.start_deadline(0, slowest_load=seconds(2)) == seconds(60)
