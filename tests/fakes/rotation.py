"""An operator who rotates the authority of a running control plane, with the credentials of the moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc

from arw.v1 import authority_service_pb2 as pb
from arw.v1.authority_service_pb2_grpc import AuthorityServiceStub
from tests.fakes.patience import SLACK
from tests.fakes.running_plane import RunningPlane
from wire.channel import secure_channel
from wire.credentials import certificate_pem, csr_der, key_pem, new_key

PATIENCE_S = 20.0 * SLACK


@dataclass(frozen=True)
class Shown:
    ca: bytes
    key: bytes
    chain: bytes

    @classmethod
    def of(cls, plane: RunningPlane) -> Shown:
        context = plane.context
        return cls(*(context[name].encode() for name in ("ca_pem", "key_pem", "certificate_pem")))

    @asynccontextmanager
    async def authorities(self, plane: RunningPlane) -> AsyncIterator[Any]:
        """Over a connection of its own."""
        tls = grpc.ssl_channel_credentials(self.ca, self.key, self.chain)
        async with secure_channel(plane.address("grpc"), tls) as channel:
            yield AuthorityServiceStub(channel)

    async def renewed(self, plane: RunningPlane) -> Shown:
        key = new_key()
        async with self.authorities(plane) as stub:
            answer = await stub.RenewOperatorCertificate(pb.RenewOperatorCertificateRequest(csr=csr_der(key)))
        return Shown(certificate_pem(answer.trust_bundle), key_pem(key), certificate_pem(answer.certificate_chain))

    async def trusting(self, plane: RunningPlane) -> Shown:
        """With the bundle of the moment, and the same certificate."""
        async with self.authorities(plane) as stub:
            answer = await stub.RenewOperatorCertificate(pb.RenewOperatorCertificateRequest())
        return replace(self, ca=certificate_pem(answer.trust_bundle))


async def states(stub: Any) -> list[str]:
    answer = await stub.ListAuthorities(pb.ListAuthoritiesRequest())
    return [one.state_slug for one in answer.authorities.authorities]


async def until_ready(stub: Any) -> None:
    """Until every node trusts all authorities."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if not (await stub.ListAuthorities(pb.ListAuthoritiesRequest())).authorities.unready_count:
                return
            await asyncio.sleep(0.05)


async def until_free(stub: Any, *, operators: int = 0) -> None:
    """Until no node, and just so many operators, have certificates of the tainted one."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = (await stub.ListAuthorities(pb.ListAuthoritiesRequest())).authorities.authorities
            if all((one.nodes, one.operators) == (0, operators) for one in found if one.state_slug == "tainted"):
                return
            await asyncio.sleep(0.05)
