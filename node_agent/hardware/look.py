"""Looks at the machine's devices through a short-lived child. A driver that hangs or crashes costs one deadline."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from node_agent.domain.inventory import Accelerator
from node_agent.domain.status import Problem
from node_agent.hardware import child, complaints
from node_agent.hardware.inventory import PROBES
from node_agent.hardware.joining import joined, troubles
from node_agent.hardware.report import Report, report_from_json


@dataclass(frozen=True, slots=True)
class Looked:
    accelerators: tuple[Accelerator, ...] = ()
    problems: tuple[Problem, ...] = ()
    """What went wrong that no device can carry."""


@dataclass(slots=True)
class Look:
    patience: timedelta = timedelta(seconds=10)
    """With each probe."""
    command: Sequence[str] = child.INVENTORY
    _stuck: Process | None = None
    _before: tuple[Accelerator, ...] = field(default=())

    async def __call__(self) -> Looked:
        """What there is now. While a child is stuck in a driver no other is started, and what was known stays."""
        if self._stuck is not None and self._stuck.returncode is None:
            return Looked(self._before, (complaints.unresponsive("a probe", "cannot even be ended"),))
        self._stuck = None
        reports: list[Report] = []
        while len(reports) < len(PROBES) and self._stuck is None:
            fresh = await self._run([report.probe for report in reports])
            reports += fresh
            if not fresh or fresh[-1].problem is None or fresh[-1].probe == PROBES[-1]:
                break
        self._before = joined(reports, self._before)
        return Looked(self._before, troubles(reports))

    async def _run(self, done: Sequence[str]) -> list[Report]:
        """The reports of one child; the last one tells of the probe that it died in, when it did."""
        process = await child.started([*self.command, "--skip", *done])
        reports: list[Report] = []
        begun = ""
        try:
            while line := await child.line_of(process, self.patience.total_seconds()):
                if line.startswith(b"{"):
                    reports.append(report_from_json(line))
                    begun = ""
                else:
                    begun = line.decode(errors="replace")[:40]
            status = await asyncio.wait_for(process.wait(), child.KILL_PATIENCE_S)
            how = f"ended with status {status}" if status >= 0 else f"was ended by signal {-status}"
        except TimeoutError:
            how = f"did not end within {self.patience.total_seconds():g} s"
        except (ValueError, TypeError, KeyError):
            how = "said what makes no sense"
        finally:
            if not await child.ended(process):
                self._stuck = process
        return (
            [*reports, Report(begun, problem=complaints.unresponsive(f"the probe {begun}", how))] if begun else reports
        )
