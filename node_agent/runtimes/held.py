"""What is said of instances that were removed and run on because their removal is held back."""

from __future__ import annotations

from dataclasses import replace

from node_agent.domain.status import InstanceState, InstanceStatus, ProcessIdentity
from node_agent.runtimes.directory import InstanceDirectory


def held_back(status: InstanceStatus) -> InstanceStatus:
    return replace(status, summary=f"{status.summary}; its removal is held back")


def left_alone(status: InstanceStatus, home: InstanceDirectory) -> InstanceStatus:
    """Of an engine that an earlier agent started and whose spec nobody knows: it is looked at, and not touched."""
    berth = home.current()
    run, launch = berth.run(), berth.launch()
    if run is None or berth.lock_is_free():
        return replace(status, state=InstanceState.OFFLINE, summary="Ended")
    return replace(
        status,
        state=InstanceState.DEGRADED,
        summary="Runs on unwatched, for its spec is lost",
        incarnation=run.incarnation,
        process=ProcessIdentity(run.boot_id, run.engine_pid, run.engine_start_ticks, run.shim_pid),
        engine=launch.engine if launch else "",
    )
