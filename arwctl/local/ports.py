"""Ports for a control plane of one's own."""

from __future__ import annotations

import socket
from secrets import SystemRandom

from arw_client import ArwError

NAMES = ("grpc-port", "enrollment-port", "relay-port", "http-port")
# Below the range from which the system takes ports for outgoing connections, so that none slips in before we listen.
RANGE = range(15_000, 30_000)
TRIES = 200


def free_ports() -> dict[str, int | str]:
    """Four ports that nobody holds now, drawn at random, all different."""
    drawn = SystemRandom().sample(RANGE, TRIES)
    free = [port for port in drawn if _is_free(port)][: len(NAMES)]
    if len(free) < len(NAMES):
        raise ArwError("PORT_UNAVAILABLE", "There are no four free ports on loopback.", "Close some programs.")
    return dict(zip(NAMES, free, strict=True))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
