"""A server of the agents' streams that does nothing but answer: what gRPC alone costs for each of them.

The same TLS, options and messages as the control plane's. It prints its port once it serves.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc

import wire  # noqa: F401 - before grpc's first use: it disarms fork handlers
from arw.v1 import agent_service_pb2 as calls
from arw.v1 import session_pb2
from control_plane.messages.times import duration_to_proto
from control_plane.process.descriptors import raise_limit
from control_plane.sessions.fleet import JITTER, FleetRules
from wire import event_loop
from wire.server import make_server


class _Streams:
    def __init__(self) -> None:
        self._rules = FleetRules()
        self._open = 0

    @property
    def handler(self) -> grpc.GenericRpcHandler:
        codec = calls.ConnectRequest.FromString, calls.ConnectResponse.SerializeToString
        connect = grpc.stream_stream_rpc_method_handler(self._connect, *codec)
        return grpc.method_handlers_generic_handler("arw.v1.AgentService", {"Connect": connect})

    async def _connect(self, requests: Any, _context: Any) -> AsyncIterator[calls.ConnectResponse]:
        said = 0
        self._open += 1
        try:
            async for request in requests:
                answer = self._answer(request.message)
                if answer is not None:
                    said += 1
                    answer.seq, answer.session_epoch = said, 1
                    yield calls.ConnectResponse(message=answer)
        finally:
            self._open -= 1

    def _answer(self, message: session_pb2.AgentMessage) -> session_pb2.ControlMessage | None:
        period = duration_to_proto(self._period())
        match message.WhichOneof("body"):
            case "hello":
                return session_pb2.ControlMessage(welcome=session_pb2.Welcome(heartbeat_period=period))
            case "heartbeat":
                ack = session_pb2.HeartbeatAck(heartbeat_seq=message.seq, next_period=period)
                return session_pb2.ControlMessage(heartbeat_ack=ack)
            case _:
                return None

    def _period(self) -> timedelta:
        """As long and as spread as the control plane's: heartbeats that come all at once cost less."""
        by_number = timedelta(seconds=self._open / self._rules.agents_per_second)
        return max(self._rules.heartbeat, by_number) * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load


async def _serve(certificates: Path) -> None:
    key, chain, ca = ((certificates / name).read_bytes() for name in ("server.key", "server.pem", "ca.pem"))
    credentials = grpc.ssl_server_credentials([(key, chain)], ca, require_client_auth=True)
    server = make_server([])
    server.add_generic_rpc_handlers((_Streams().handler,))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("certificates", type=Path, help="the folder of a control plane's key and certificates")
    options = parser.parse_args()
    raise_limit()
    event_loop.run(_serve(options.certificates))


if __name__ == "__main__":
    main()
