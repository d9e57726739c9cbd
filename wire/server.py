"""Servers with the limits that every listener shares."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from wire.channel import SHARED_OPTIONS

OPTIONS: tuple[tuple[str, int | str], ...] = (
    *SHARED_OPTIONS,
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.max_concurrent_streams", 64),
    ("grpc.so_reuseport", 0),
    ("grpc.server_handshake_timeout_ms", 10_000),
)


def make_server(
    interceptors: Sequence[grpc.aio.ServerInterceptor], maximum_concurrent_rpcs: int | None = None
) -> grpc.aio.Server:
    return grpc.aio.server(
        interceptors=list(interceptors), options=OPTIONS, maximum_concurrent_rpcs=maximum_concurrent_rpcs
    )
