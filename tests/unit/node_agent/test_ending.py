"""Stopping what does not want to stop."""

from __future__ import annotations

import signal
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from node_agent.runtimes import ending
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.launcher import Running
from node_agent.runtimes.process import Process
from node_agent.runtimes.records import RunRecord

GRACE = timedelta(seconds=1)


class StubbornProcess:
    """Waits in the kernel through the first signals, as one does whose device hangs."""

    def __init__(self, survives: int) -> None:
        self.pid = 1
        self.signals: list[int] = []
        self._survives = survives

    def send(self, number: signal.Signals) -> None:
        self.signals.append(number)

    async def wait(self, _patience: timedelta | None = None) -> bool:
        return len(self.signals) > self._survives

    def release(self) -> None:
        return


@pytest.mark.parametrize(("survives", "alarms"), [(0, 0), (1, 0), (4, 3)])
async def test_nothing_counts_as_stopped_before_it_is_gone(tmp_path: Path, survives: int, alarms: int) -> None:
    home = InstanceDirectory(tmp_path / "one")
    home.prepare()
    engine = StubbornProcess(survives)
    told: list[str] = []
    running = Running(RunRecord(1, "", 1, 1, 0, 0, "none"), cast("Process", engine), None)
    note = await ending.stop(home, running, GRACE, lambda: told.append("unkillable"))
    assert note is None
    assert engine.signals == [signal.SIGTERM] + [signal.SIGKILL] * survives
    assert len(told) == alarms
