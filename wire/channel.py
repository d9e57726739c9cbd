"""Client channels: dead paths are noticed, stalled streams stay small, messages are bounded."""

from __future__ import annotations

import grpc

from wire.credentials import CONTROL_PLANE_NAME
from wire.trace import TRACE_CLIENT_INTERCEPTORS

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_BATCH_BYTES = 512 * 1024

# Without ping_timeout_ms the core waits 60 s for a lost ping, whatever the keepalive time-out says.
# bdp_probe=0 keeps windows at 64 KiB: a peer that never reads costs that much, not 4 MiB.
SHARED_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)

OPTIONS: tuple[tuple[str, int | str], ...] = (
    *SHARED_OPTIONS,
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.use_local_subchannel_pool", 1),
)


def secure_channel(address: str, credentials: grpc.ChannelCredentials) -> grpc.aio.Channel:
    """A channel to a control plane at "host:port"; its certificate must carry the control plane's own name."""
    options = (*OPTIONS, ("grpc.ssl_target_name_override", CONTROL_PLANE_NAME))
    return grpc.aio.secure_channel(address, credentials, options=options, interceptors=TRACE_CLIENT_INTERCEPTORS)


def unix_channel(path: str) -> grpc.aio.Channel:
    """A channel to a local admin socket, which file permissions guard."""
    return grpc.aio.insecure_channel(f"unix:{path}", options=OPTIONS)
