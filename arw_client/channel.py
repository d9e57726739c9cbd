"""A grpclib channel that knows of several addresses, and is really closed when it says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from grpclib.client import Channel, Handler
from grpclib.protocol import H2Protocol

REACH_S = 2.0
"""How long one of several addresses may take to answer, handshake included."""


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

    def __init__(self, endpoints: Sequence[tuple[str, int]], **options: Any) -> None:
        """`endpoints`: host and port of each; every one of them is the same control plane."""
        super().__init__(*endpoints[0], **options)
        self._endpoints = tuple(endpoints)

    @property
    def others(self) -> int:
        """How many addresses there are besides the one in use."""
        return len(self._endpoints) - 1

    def turn(self) -> None:
        """Use the next address for new calls; those in hand go on."""
        self._endpoints = (*self._endpoints[1:], self._endpoints[0])
        self._host, self._port = self._endpoints[0]
        self._authority = self._get_authority(self._host, self._port)
        self._protocol = None

    def _protocol_factory(self) -> H2Protocol:
        protocol = _Protocol(Handler(), self._config, self._h2_config)
        self._dialled = (*self._dialled, protocol)
        return protocol

    async def _create_connection(self) -> H2Protocol:
        """To the first address that answers, from the one in use on. OSError of the first when none does."""
        failures: list[OSError] = []
        for _ in self._endpoints:
            try:
                async with asyncio.timeout(REACH_S if self.others else None):
                    return await super()._create_connection()
            except OSError as error:
                failures.append(error)
                self.turn()
        raise failures[0]

    async def aclose(self) -> None:
        self.close()
        for protocol in self._dialled:
            if protocol.transport is not None:
                # Every call has ended, so there is nothing left to send.
                protocol.transport.abort()
                await protocol.gone.wait()
