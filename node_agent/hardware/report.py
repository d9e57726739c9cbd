"""What a probe says, and how it travels from the child to the agent: one JSON line a probe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from node_agent.domain.inventory import Accelerator, DeviceHealth
from node_agent.domain.status import Problem


class ProbeFailedError(Exception):
    """The driver or tool did not tell of every device. `found` are those that it told of.

    `quiet`: it is simply not installed, which is worth a word only where such a device is present.
    """

    def __init__(self, problem: Problem, found: Sequence[Accelerator] = (), *, quiet: bool = False) -> None:
        super().__init__(problem.text)
        self.problem = problem
        self.found = tuple(found)
        self.quiet = quiet


@dataclass(frozen=True, slots=True)
class Report:
    probe: str
    accelerators: tuple[Accelerator, ...] = ()
    problem: Problem | None = None
    """Why it told of fewer devices than there may be."""
    quiet: bool = False


def report_to_json(report: Report) -> str:
    return json.dumps(asdict(report))


def report_from_json(line: str | bytes) -> Report:
    """ValueError, TypeError or KeyError when it is none."""
    told: dict[str, Any] = json.loads(line)
    devices = tuple(_accelerator(device) for device in told.pop("accelerators"))
    return Report(**{**told, "accelerators": devices, "problem": _problem(told["problem"])})


def _accelerator(told: dict[str, Any]) -> Accelerator:
    health, problem = DeviceHealth(told["health"]), _problem(told["problem"])
    return Accelerator(**{**told, "health": health, "problem": problem})


def _problem(told: dict[str, Any] | None) -> Problem | None:
    return None if told is None else Problem(**told)
