"""What is said of an instance that does not run, and need not."""

from __future__ import annotations

from node_agent.domain.spec import DesiredState, InstanceSpec
from node_agent.domain.status import InstanceState

AT_REST = (InstanceState.PENDING, InstanceState.OFFLINE, InstanceState.HIBERNATED)


def rest(spec: InstanceSpec | None) -> dict[str, object]:
    if spec is not None and spec.desired_state is DesiredState.RUNNING:
        return {"state": InstanceState.PENDING, "summary": "Waiting"}
    if spec is not None and spec.rests:
        return {"state": InstanceState.HIBERNATED, "summary": "Hibernated"}
    return {"state": InstanceState.OFFLINE, "summary": "Shut down"}
