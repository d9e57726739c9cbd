"""Clocks of the control plane."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from control_plane.process.clock import EvenClock


def test_an_even_clock_goes_on_from_where_it_began_whatever_the_machine_is_set_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = datetime.now(UTC)
    even = EvenClock()
    began = even.now()
    assert before <= began <= datetime.now(UTC) + timedelta(seconds=1)
    later = time.clock_gettime(time.CLOCK_BOOTTIME) + 3600
    monkeypatch.setattr(time, "clock_gettime", lambda _: later)
    assert timedelta(0) <= even.now() - began - timedelta(hours=1) < timedelta(seconds=1)
