from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.ids import ReplicaId


@dataclass(frozen=True, slots=True)
class Place:
    """Where a replica of the control plane is reached. Addresses are "host:port"."""

    grpc_address: str = ""
    relay_address: str = ""
    relay_unix_path: str = ""
    """For agents on its own machine."""
    http_url: str = ""
    machine_id_hash: str = ""
    """Tells which agents are on its own machine."""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Replica:
    """A control-plane process that lives."""

    id: ReplicaId
    place: Place
    start_time: datetime
    leads: bool = False
    """Whether it runs the loops of which there may be only one."""
