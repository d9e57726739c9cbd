"""The drill of agents killed at any moment, ten times as long: ARW_SOAK_KILLS of them, in the way of ARW_SOAK_SEED."""

from __future__ import annotations

import os

import pytest

from tests.fakes.kill_storm import kill_storm
from tests.fakes.storm_watch import OK

KILLS = int(os.environ.get("ARW_SOAK_KILLS", "1000"))
SEED = int(os.environ.get("ARW_SOAK_SEED", "1"))


@pytest.mark.timeout(0)
def test_a_thousand_agents_killed_at_any_moment_leave_no_orphan_no_double_and_signal_nobody_else() -> None:
    with kill_storm(SEED) as storm:
        storm.endure(KILLS)
        assert storm.watch.answers.keys() == {OK}
