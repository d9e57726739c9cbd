"""Who hears when nothing is asked of an engine any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from node_agent.domain.budget import Budget
from node_agent.domain.spec import DesiredState
from node_agent.domain.status import InstanceState, InstanceStatus
from node_agent.runtimes.idleness import Idleness
from node_agent.runtimes.report import Report
from tests.fakes.instance_specs import NAME, spec

QUIET = timedelta(milliseconds=20)
RESTS = spec(desired_state=DesiredState.STOPPED, rests=True)


class Bench:
    """Something that serves, and everything that was told of it."""

    def __init__(self) -> None:
        self.asked = False
        self.looks = 0
        self.told: list[InstanceStatus] = []
        self.report = Report(NAME, self.told.append)
        self.report.status = replace(self.report.status, state=InstanceState.READY)
        self.idleness = Idleness(self.report, self.look, QUIET, lambda: datetime.now(UTC))

    def look(self) -> bool:
        self.looks += 1
        return self.asked

    @property
    def idle(self) -> bool:
        return self.report.status.idle_since is not None

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():  # noqa: ASYNC110 - a timer of the loop is waited for
                await asyncio.sleep(0.002)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_nobody_is_told_who_does_not_ask(bench: Bench) -> None:
    bench.idleness.used()
    assert not bench.told


async def test_each_time_in_use_is_two_reports_however_many_requests_there_are(bench: Bench) -> None:
    bench.idleness.tell(True)
    for _ in range(100):
        bench.idleness.used()
    await bench.until(lambda: bench.idle)
    assert len(bench.told) == 1
    for _ in range(100):
        bench.idleness.used()
    assert not bench.idle
    assert len(bench.told) == 2
    await bench.until(lambda: bench.idle)


async def test_a_long_answer_is_no_idleness(bench: Bench) -> None:
    bench.asked = True
    bench.idleness.tell(True)
    await bench.until(lambda: bench.looks >= 3)
    assert not bench.idle
    bench.asked = False
    await bench.until(lambda: bench.idle)


async def test_what_nobody_wants_to_know_any_more_is_taken_back(bench: Bench) -> None:
    bench.idleness.tell(True)
    await bench.until(lambda: bench.idle)
    bench.idleness.tell(False)
    assert not bench.idle


def wanted(report: Report, **changes: object) -> InstanceState:
    report.want(spec(**changes), Budget(), datetime.now(UTC), 1)
    return report.status.state


def test_what_rests_is_hibernated_and_what_is_stopped_is_offline() -> None:
    report = Report(NAME, lambda _: None)
    stopped = {"desired_state": DesiredState.STOPPED}
    assert wanted(report, **stopped, rests=True) is InstanceState.HIBERNATED
    assert wanted(report, **stopped) is InstanceState.OFFLINE
    assert wanted(report, **stopped, rests=True) is InstanceState.HIBERNATED
    report.stopped(None)
    assert report.status.summary == "Hibernated"
