"""What a node is told of where the replicas of its control plane are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from arw.v1 import session_pb2 as pb
from control_plane.domain.replica import Place
from control_plane.messages.places import places_to_proto
from control_plane.sessions.hello import Peer
from control_plane.sessions.rules import MANY_REPLICAS


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a welcomed node needs to know of the replicas."""

    replicas: Callable[[], Sequence[Place]]
    """All that live, this one first."""
    parked_connections: int = 2


@dataclass(frozen=True, slots=True)
class Terms:
    """What Welcome says beside the epoch."""

    history_id: str
    replicas: tuple[Place, ...]
    parked_connections: int


def replicas_changed(peer: Peer, replicas: Sequence[Place], parked_connections: int) -> pb.ControlMessage | None:
    """None: the agent would not understand it, and hears of them with its next Welcome."""
    if MANY_REPLICAS not in peer.capabilities:
        return None
    told = places_to_proto(replicas, peer.machine_id_hash)
    changed = pb.ReplicasChanged(replicas=told, parked_connections=parked_connections)
    return pb.ControlMessage(replicas_changed=changed)
