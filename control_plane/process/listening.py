"""Whether a port is free, and if not, what a person can do about it."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

from control_plane.domain.errors import InUse, InvalidArgument


def check_port(host: str, port: int, name: str, flag: str) -> None:
    """InUse when somebody listens on it already; InvalidArgument when it cannot be listened on at all.

    grpc tells neither the port nor the reason, so this looks first.
    """
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _refusal(error, host, port, name, flag) from None


def _refusal(error: OSError, host: str, port: int, name: str, flag: str) -> InUse | InvalidArgument:
    if error.errno == errno.EADDRINUSE:
        return InUse(
            f"Port {port} on {host}, wanted for {name}, is taken by another process.",
            f"See who holds it: ss -ltnp 'sport = :{port}'; it may be another control plane. "
            f"Or choose another port: arw-control-plane init {flag} PORT",
            port=str(port),
        )
    why = error.strerror or str(error)
    return InvalidArgument(
        f"Cannot listen on {host} port {port} for {name}: {why}.",
        f"Choose another: arw-control-plane init --host HOST {flag} PORT",
        port=str(port),
    )


def free_ports(host: str, count: int) -> list[int]:
    """Different ones that nobody listens on now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket(family, socket.SOCK_STREAM)) for _ in range(count)]
        for probe in probes:
            probe.bind((host, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
