"""A grpclib channel that is really closed when it says so."""

from __future__ import annotations

import asyncio

from grpclib.client import Channel, Handler
from grpclib.protocol import H2Protocol


class _Protocol(H2Protocol):
    """Knows when its connection is gone; grpclib only asks for that."""

    transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if isinstance(transport, asyncio.WriteTransport):
            self.transport = transport
        self.gone = asyncio.Event()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.gone.set()


class ClosingChannel(Channel):
    """`aclose` waits until the sockets are closed, so that no loop ends with an open one."""

    _dialled: tuple[_Protocol, ...] = ()

    def _protocol_factory(self) -> H2Protocol:
        protocol = _Protocol(Handler(), self._config, self._h2_config)
        self._dialled = (*self._dialled, protocol)
        return protocol

    async def aclose(self) -> None:
        self.close()
        for protocol in self._dialled:
            if protocol.transport is not None:
                # Every call has ended, so there is nothing left to send.
                protocol.transport.abort()
                await protocol.gone.wait()
