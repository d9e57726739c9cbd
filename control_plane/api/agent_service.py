# ruff: noqa: ARG002, N802 - the contract names methods and parameters
from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol

from arw.v1 import agent_service_pb2 as pb
from arw.v1 import session_pb2
from arw.v1.agent_service_pb2_grpc import AgentServiceServicer
from control_plane.api.aborting import aborting
from control_plane.api.authorization import caller
from control_plane.domain.admission import Presented
from control_plane.domain.ids import NodeId
from control_plane.use_cases.ports import CertificateAuthority
from control_plane.use_cases.renew_certificate import RenewCertificate
from wire.refusal import Refusal


class Streams(Protocol):
    def serve(
        self,
        presented: Presented,
        requests: AsyncIterator[session_pb2.AgentMessage],
        abort: Callable[[Refusal], Coroutine[Any, Any, None]],
    ) -> AsyncIterator[session_pb2.ControlMessage]:
        """One session from its Hello to its end."""


class LogSink(Protocol):
    async def push(self, node: NodeId, requests: AsyncIterator[pb.PushLogsRequest]) -> None:
        """Take a node's log until it ends or its reader leaves."""


class AgentServicer(AgentServiceServicer):
    def __init__(
        self, streams: Streams, logs: LogSink, renew: RenewCertificate, authority: CertificateAuthority
    ) -> None:
        self._streams = streams
        self._logs = logs
        self._renew = renew
        self._authority = authority

    async def Connect(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.ConnectResponse]:
        requests = (request.message async for request in request_iterator)
        async for message in self._streams.serve(caller.get().presented, requests, aborting(context)):
            yield pb.ConnectResponse(message=message)

    async def PushLogs(self, request_iterator: Any, context: Any) -> pb.PushLogsResponse:
        await self._logs.push(caller.get().presented.node, request_iterator)
        return pb.PushLogsResponse()

    async def RenewCertificate(
        self,
        request: pb.RenewCertificateRequest,
        context: Any,
    ) -> pb.RenewCertificateResponse:
        issued = await self._renew(caller.get().presented, request.csr)
        bundle = self._authority.trust_bundle()
        return pb.RenewCertificateResponse(certificate_chain=issued.chain, trust_bundle=bundle)
