"""When a runtime is in memory, as a manifest says it."""

from __future__ import annotations

from datetime import timedelta

from control_plane.domain.residence import Residence
from control_plane.domain.runtime import EXTERNAL
from control_plane.manifests.shapes import RuntimeEntry
from wire.strict import Check, Path

NEVER = "never"
LONGEST = timedelta(days=365)
_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def residence(entry: RuntimeEntry) -> Residence:
    return Residence(entry.on_demand, _after(entry.idle_unload), entry.keep_loaded)


def check_residence(entry: RuntimeEntry, path: Path, check: Check) -> None:
    after = _after(entry.idle_unload)
    if after is not None and after > LONGEST:
        check.note((*path, "idle_unload"), f"must be at most {LONGEST.days}d")
    if after is not None and not entry.on_demand:
        check.note((*path, "idle_unload"), "needs on_demand = true: only then do requests load it again")
    if entry.keep_loaded and not entry.on_demand:
        check.note((*path, "keep_loaded"), "needs on_demand = true: nothing else leaves to make room")
    if entry.on_demand and entry.replicas > 1:
        check.note((*path, "on_demand"), "is for runtimes of one replica")
    if entry.on_demand and entry.adapter == EXTERNAL:
        check.note((*path, "on_demand"), "is for engines that are started here")


def _after(said: str) -> timedelta | None:
    return None if said == NEVER else int(said[:-1]) * _UNITS[said[-1]]
