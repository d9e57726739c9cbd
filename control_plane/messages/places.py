from __future__ import annotations

from collections.abc import Iterable

from arw.v1 import session_pb2 as pb
from control_plane.domain.replica import Place


def places_to_proto(places: Iterable[Place], machine_id_hash: str) -> list[pb.Replica]:
    """As an agent on this machine is told them: a path of another machine means nothing there."""
    return [
        pb.Replica(
            grpc_address=place.grpc_address,
            relay_address=place.relay_address,
            relay_unix_path=place.relay_unix_path if place.machine_id_hash == machine_id_hash else "",
        )
        for place in places
    ]
