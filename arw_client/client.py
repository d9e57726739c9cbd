"""One connection to a control plane."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from grpclib.config import Configuration
from grpclib.encoding.proto import ProtoCodec
from grpclib.events import RecvInitialMetadata, listen

from arw_client import tls
from arw_client.asking import PATIENCE_S
from arw_client.calls import DEFAULT_TIMEOUT_S
from arw_client.channel import ClosingChannel
from arw_client.chat import Chat
from arw_client.context import Context
from arw_client.renewal import hint
from arw_client.services import Authorities, Claims, Inference, Jobs, Models, Nodes, Projects, Runtimes, State
from arw_client.status_details import DetailsCodec
from arw_client.trace import Trace
from arw_client.transcription import Transcriptions


class Client:
    """The services of the contract over one channel; see `connect`."""

    def __init__(self, context: Context, channel: ClosingChannel, timeout_s: float) -> None:
        self.context = context
        self.trace = Trace()
        self.nodes = Nodes(channel, context, self.trace, timeout_s)
        self.runtimes = Runtimes(channel, context, self.trace, timeout_s)
        self.models = Models(channel, context, self.trace, timeout_s)
        self.jobs = Jobs(channel, context, self.trace, timeout_s)
        self.projects = Projects(channel, context, self.trace, timeout_s)
        self.claims = Claims(channel, context, self.trace, timeout_s)
        self.state = State(channel, context, self.trace, timeout_s)
        self.authorities = Authorities(channel, context, self.trace, timeout_s)
        self.inference = Inference(channel, context, self.trace, timeout_s)
        self.trust_hint = ""
        """What the control plane said last of its authorities."""
        listen(channel, RecvInitialMetadata, self._heard)

    async def _heard(self, event: RecvInitialMetadata) -> None:
        self.trust_hint = hint(event.metadata) or self.trust_hint

    def chat(self, patience_s: float = PATIENCE_S, offline_patience_s: float = 0) -> Chat:
        return Chat(self.context, self.trace, patience_s, offline_patience_s)

    def transcriptions(self, patience_s: float = PATIENCE_S, offline_patience_s: float = 0) -> Transcriptions:
        return Transcriptions(self.context, self.trace, patience_s, offline_patience_s)


@asynccontextmanager
async def connect(context: Context, timeout_s: float = DEFAULT_TIMEOUT_S) -> AsyncIterator[Client]:
    """A client for the block. The first call dials; every failure of a call is an ArwError."""
    channel = ClosingChannel(
        context.grpc_endpoints,
        ssl=tls.mutual(context),
        codec=ProtoCodec(),
        status_details_codec=DetailsCodec(),
        config=Configuration(ssl_target_name_override=tls.CONTROL_PLANE_NAME),
    )
    try:
        yield Client(context, channel, timeout_s)
    finally:
        await channel.aclose()
