# ruff: noqa: ARG002, N802 - the contract names methods and parameters
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1.health_pb2_grpc import HealthServicer

from control_plane.domain.errors import NotFound

_SERVING = pb.HealthCheckResponse.SERVING
_NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING


class Health(HealthServicer):
    """grpc.health.v1 for every service alike: this process serves, or it does not. It tells nothing else."""

    def __init__(self, services: Collection[str]) -> None:
        self._services = frozenset(services) | {""}
        self._serving = False
        self._turned = asyncio.Event()

    def turn(self, *, serving: bool) -> None:
        self._serving = serving
        turned, self._turned = self._turned, asyncio.Event()
        turned.set()

    async def Check(self, request: pb.HealthCheckRequest, context: Any) -> pb.HealthCheckResponse:
        if request.service not in self._services:
            raise NotFound("There is no such service here.", "Leave the service empty to ask for the whole process.")
        return pb.HealthCheckResponse(status=self._status)

    async def Watch(self, request: pb.HealthCheckRequest, context: Any) -> AsyncIterator[pb.HealthCheckResponse]:
        while request.service in self._services:
            turned = self._turned
            yield pb.HealthCheckResponse(status=self._status)
            await turned.wait()
        yield pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVICE_UNKNOWN)

    @property
    def _status(self) -> Any:
        return _SERVING if self._serving else _NOT_SERVING
