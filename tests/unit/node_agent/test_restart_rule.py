from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.domain.budget import Budget
from node_agent.domain.restart import backoff
from node_agent.domain.spec import RestartPolicy
from node_agent.domain.timers import REAL, TEST

NOW = datetime(2026, 11, 20, tzinfo=UTC)
MIDDLE = 0.5
POLICY = RestartPolicy()


def test_the_first_restart_after_a_good_run_is_immediate() -> None:
    assert backoff(5, timedelta(seconds=10), REAL, MIDDLE).delay == timedelta()


def test_failures_in_a_row_wait_one_two_four_up_to_sixty_seconds() -> None:
    delays, failures = [], 0
    for _ in range(8):
        wait = backoff(failures, timedelta(seconds=9.9), REAL, MIDDLE)
        delays.append(wait.delay.total_seconds())
        failures = wait.failures
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_good_run_starts_the_series_over() -> None:
    after_good = backoff(6, REAL.good_run, REAL, MIDDLE)
    assert backoff(after_good.failures, timedelta(), REAL, MIDDLE).delay == timedelta(seconds=1)


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_each_wait_is_spread_by_a_fifth_either_way(failures: int, chance: float) -> None:
    plain = backoff(failures, timedelta(), REAL, MIDDLE).delay
    assert 0.799 * plain <= backoff(failures, timedelta(), REAL, chance).delay <= 1.201 * plain


def test_a_budget_of_three_is_used_up_by_three_restarts() -> None:
    budget = Budget()
    for second in range(3):
        assert not budget.exhausted(POLICY, NOW)
        budget = budget.spend(POLICY, NOW + timedelta(seconds=second))
    assert budget.exhausted(POLICY, NOW + timedelta(seconds=3))


def test_a_restart_leaves_the_window_after_its_length() -> None:
    budget = Budget().spend(POLICY, NOW)
    assert budget.view(POLICY, NOW + timedelta(seconds=599)).used == 1
    assert budget.view(POLICY, NOW + timedelta(seconds=600)).used == 0


def test_the_view_tells_when_the_oldest_restart_is_forgiven() -> None:
    budget = Budget().spend(POLICY, NOW).spend(POLICY, NOW + timedelta(seconds=100))
    view = budget.view(POLICY, NOW + timedelta(seconds=200))
    assert (view.used, view.remaining, view.reset_in) == (2, 1, timedelta(seconds=400))


def test_a_policy_without_restarts_is_always_exhausted() -> None:
    assert Budget().exhausted(RestartPolicy(max_restarts=0), NOW)


def test_a_clock_that_was_set_back_does_not_pile_up_blame() -> None:
    budget = Budget((NOW + timedelta(days=30),))
    spent = budget.spend(POLICY, NOW)
    assert spent.view(POLICY, NOW + timedelta(seconds=601)).used == 0


@pytest.mark.parametrize(("megabytes", "seconds"), [(0, 60), (100, 61), (4000, 100)])
def test_the_start_deadline_grows_with_the_model(megabytes: int, seconds: int) -> None:
    assert REAL.start_deadline(megabytes * 1_000_000) == timedelta(seconds=seconds)


def test_the_test_profile_is_second_long() -> None:
    waits = (TEST.stop_grace, TEST.probe_period, TEST.probe_timeout, TEST.backoff_cap, TEST.recheck, TEST.tick)
    assert max(waits) <= timedelta(seconds=1)
