"""What replicas of the control plane say of themselves and want for themselves."""

from __future__ import annotations

from collections.abc import Iterable

from arw.v1 import session_pb2
from node_agent.control_link import messages as m
from node_agent.domain.spec import InstanceName


def replicas_from_proto(replicas: Iterable[session_pb2.Replica]) -> tuple[m.Replica, ...]:
    return tuple(m.Replica(each.grpc_address, each.relay_address, each.relay_unix_path) for each in replicas)


def replicas_changed_from_proto(changed: session_pb2.ReplicasChanged) -> m.ReplicasChanged:
    return m.ReplicasChanged(replicas_from_proto(changed.replicas), changed.parked_connections)


def park_from_proto(park: session_pb2.ParkConnections) -> m.ParkConnections:
    return m.ParkConnections(park.idle_connections, park.relay_address)


def log_request_from_proto(request: session_pb2.LogRequest) -> m.LogRequest:
    return m.LogRequest(
        request.subscription,
        InstanceName(request.instance),
        request.tail_lines,
        request.follow,
        request.whole,
        request.grpc_address,
    )
