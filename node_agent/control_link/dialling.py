from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from arw.v1 import agent_service_pb2_grpc
from node_agent.domain.offer import Offer
from wire.channel import secure_channel


@asynccontextmanager
async def dialled(server: str, offer: Offer) -> AsyncIterator[agent_service_pb2_grpc.AgentServiceAsyncStub]:
    """A replica at "host:port", over a channel of its own."""
    credentials = grpc.ssl_channel_credentials(offer.ca_pem, offer.key_pem, offer.certificate_pem)
    async with secure_channel(server, credentials) as channel:
        stub: agent_service_pb2_grpc.AgentServiceAsyncStub = agent_service_pb2_grpc.AgentServiceStub(channel)
        yield stub
