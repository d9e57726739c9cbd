"""Servers with the limits that every listener shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import grpc

from wire.channel import SHARED_OPTIONS

# A peer that acknowledges no settings may fill 16 MiB of header fields: settings_timeout bounds for how long.
OPTIONS: tuple[tuple[str, int | str], ...] = (
    *SHARED_OPTIONS,
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.max_concurrent_streams", 64),
    ("grpc.so_reuseport", 0),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.http2.settings_timeout", 10_000),
)


@dataclass(frozen=True, slots=True)
class ShortVisits:
    """For a listener whose callers come, ask and go."""

    handshake: timedelta = timedelta(seconds=5)
    """Of TLS, and then of HTTP/2."""
    idle: timedelta = timedelta(seconds=2)
    """Without a call; grpc takes up to twice that."""
    age: timedelta = timedelta(seconds=20)
    """± 10 %. No new calls then."""
    grace: timedelta = timedelta(seconds=5)
    """For the calls in hand when the age is reached."""
    calls: int = 4
    """At once, of one connection."""
    message_bytes: int = 32 * 1024

    @property
    def options(self) -> tuple[tuple[str, int | str], ...]:
        return (
            ("grpc.server_handshake_timeout_ms", _ms(self.handshake)),
            ("grpc.http2.settings_timeout", _ms(self.handshake)),
            ("grpc.max_connection_idle_ms", _ms(self.idle)),
            ("grpc.max_connection_age_ms", _ms(self.age)),
            ("grpc.max_connection_age_grace_ms", _ms(self.grace)),
            ("grpc.max_concurrent_streams", self.calls),
            ("grpc.max_receive_message_length", self.message_bytes),
        )


def make_server(
    interceptors: Sequence[grpc.aio.ServerInterceptor], visits: ShortVisits | None = None
) -> grpc.aio.Server:
    """Without `visits`, connections and their calls may last."""
    options = dict(OPTIONS) | dict(visits.options if visits else ())
    return grpc.aio.server(interceptors=list(interceptors), options=tuple(options.items()))


def _ms(duration: timedelta) -> int:
    return round(duration / timedelta(milliseconds=1))
