"""Where a control plane listens, and where others reach it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.domain.replica import Place
from control_plane.settings import Settings, product_version

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared


@dataclass(slots=True)
class Reached:
    settings: Settings
    runtime: Path
    """Of its sockets."""
    machine: str
    """SHA-256 of the machine's id."""
    ports: dict[str, int] = field(default_factory=dict)
    everywhere: asyncio.Event = field(default_factory=asyncio.Event)
    """Every port is open."""

    def at(self, port: str) -> str:
        """What others dial."""
        return address(self.settings.dialled, self.ports[port])

    def place(self) -> Place:
        """For other replicas and for agents; empty until it listens everywhere."""
        if not self.everywhere.is_set():
            return Place()
        return Place(
            grpc_address=self.at("grpc"),
            relay_address=self.at("relay"),
            relay_unix_path=str(self.runtime / "relay.sock"),
            http_url=http_url(self.settings, self.ports["http"]),
            machine_id_hash=self.machine,
            version=product_version(),
        )


def http_url(settings: Settings, port: int) -> str:
    """What others dial for HTTP; a wildcard is reached by the name that gRPC is reached by."""
    host = settings.dialled if settings.http_host in WILDCARDS else settings.http_host
    return f"{'https' if settings.http_certificate else 'http'}://{address(host, port)}"


def address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
