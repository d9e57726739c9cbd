"""How figures and events travel from the usage child to the agent: a JSON line each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from node_agent.domain.inventory import AcceleratorUsage, DeviceProcess


@dataclass(frozen=True, slots=True)
class Reading:
    """What one source read in one round."""

    source: str
    usages: tuple[AcceleratorUsage, ...]
    battery_percent: float | None = None
    on_battery: bool | None = None


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """Something happened to the devices: they have to be looked at again. With an Xid, it is known to which."""

    id: str = ""
    """As in Accelerator.id; empty: not known."""
    xid: int | None = None


def to_json(line: Reading | DeviceEvent) -> str:
    return json.dumps(asdict(line))


def from_json(line: str | bytes) -> Reading | DeviceEvent:
    """ValueError, TypeError or KeyError when it is neither."""
    told: dict[str, Any] = json.loads(line)
    if "source" not in told:
        return DeviceEvent(**told)
    return Reading(**{**told, "usages": _usages(told["usages"])})


def _usages(told: Sequence[dict[str, Any]]) -> tuple[AcceleratorUsage, ...]:
    return tuple(
        AcceleratorUsage(
            **{
                **usage,
                "throttle_reasons": tuple(usage["throttle_reasons"]),
                "processes": tuple(DeviceProcess(**process) for process in usage["processes"]),
            }
        )
        for usage in told
    )
