from __future__ import annotations

from dataclasses import dataclass, field

from wire.http_head import Limits


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Limits of the data path; times in seconds."""

    limits: Limits = field(default_factory=Limits)
    application_body_bytes: int = 64 * 1024
    """Largest request body for paths that are not inference."""
    held_bytes: int = 512 * 1024 * 1024
    """Of request bodies that are kept at once; one more is not read on."""
    connections: int = 8192
    """Clients at once; one more is turned away."""
    head_timeout: float = 10
    body_timeout: float = 60
    keep_alive: float = 75
    """A client connection without a request."""
    first_frame_timeout: float = 5
    """A dialled relay connection that has not said whose it is; also the TLS handshake's limit."""
    queue_timeout: float = 5
    """A request that waits for a parked connection."""
    reroute_after: float = 0.5
    """Of it, before the request goes to another runtime that it could have gone to as well."""
    queue_length: int = 512
    """Such requests at once, per node."""
    line_length: int = 256
    """Requests that wait for a slot of one engine."""
    line_timeout: float = 600
    """One of them."""
    loading_timeout: float = 900
    """A request that waits until what it names is loaded."""
    loading_length: int = 512
    """Such requests at once."""
    loading_tick: float = 2
    """Between two looks whether it is; streams are told each time."""
    first_byte_timeout: float = 600
    """An engine that has not begun to answer: long prompts take long."""
    silence_timeout: float = 600
    """An answer that stopped in the middle."""
    stalled_timeout: float = 30
    """A client that takes nothing of what was written to it."""
    spare_connections: int = 8
    """Idle parked connections below which a node is asked for more."""
    relay_connections: int = 2048
    """Parked connections at once, per node."""
