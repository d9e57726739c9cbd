"""Keeps the certificate fresh, for as long as it takes the control plane to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import grpc
import structlog

from arw.v1 import agent_service_pb2, agent_service_pb2_grpc
from node_agent.domain.offer import Offer
from node_agent.identity.credentials import NodeCredentials
from node_agent.identity.files import Certificate, IdentityFiles
from node_agent.identity.issued import issued_files
from wire.channel import secure_channel
from wire.credentials import csr_der, new_key

TIMEOUT_S = 20.0
SPREAD = 0.1
LAST_PART = 0.1
LONGEST_NAP = timedelta(hours=1)
TAINTED_RETRY = timedelta(minutes=1)
SHORTEST_NAP = timedelta(milliseconds=200)

_log = structlog.get_logger()


def renewal_time(certificate: Certificate, chance: float) -> datetime:
    """Two thirds of its life after it came here, ± 10 %; `chance` is uniform in [0, 1)."""
    start = max(certificate.received, certificate.leaf.not_valid_before_utc)
    life = certificate.leaf.not_valid_after_utc - start
    return start + life * (2 / 3) * (1 + SPREAD * (2 * chance - 1))


def retry_delay(certificate: Certificate, now: datetime) -> timedelta:
    """For a day's certificate an hour, and a minute in the last tenth of its life; in proportion for others."""
    leaf = certificate.leaf
    life = leaf.not_valid_after_utc - max(certificate.received, leaf.not_valid_before_utc)
    part = 1440 if leaf.not_valid_after_utc - now <= life * LAST_PART else 24
    return max(SHORTEST_NAP, min(LONGEST_NAP, life / part))


@dataclass(frozen=True, slots=True)
class Renewal:
    files: IdentityFiles
    credentials: NodeCredentials
    address: str
    """"host:port" of the mutual-TLS port."""
    renewed: Callable[[], None]
    """Called when a candidate lies ready: reconnect with it."""
    now: Callable[[], datetime]
    chance: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _waiting: list[asyncio.Timeout] = field(default_factory=list)
    """The nap that `hasten` cuts short, if there is one."""

    def hasten(self) -> None:
        """Look again when to renew: the authority of the certificate may be tainted."""
        for waiting in self._waiting:
            waiting.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Until cancelled. Failures are tried again; the old certificate stays in use meanwhile."""
        while True:
            await self._wait_until_due()
            if not await self._renew():
                await self._nap(self._retry_delay())
                continue
            self.renewed()
            await self._until_used()

    async def _wait_until_due(self) -> None:
        due = renewal_time(self.files.current(), self.chance())
        while (left := min(due, self.credentials.renew_at or due) - self.now()) > timedelta():
            with suppress(TimeoutError):
                async with asyncio.timeout(None) as waiting:
                    self._waiting[:] = [waiting]
                    await self._nap(min(left, LONGEST_NAP))
            self._waiting.clear()

    def _retry_delay(self) -> timedelta:
        delay = retry_delay(self.files.current(), self.now())
        return delay if self.credentials.renew_at is None else min(delay, TAINTED_RETRY)

    async def _until_used(self) -> None:
        """The link tries the candidate; a refused one is dropped and asked for anew."""
        while self.files.candidate() is not None:
            await self._nap(retry_delay(self.files.current(), self.now()) / 10)

    async def _nap(self, delay: timedelta) -> None:
        await self.sleep(max(SHORTEST_NAP, delay).total_seconds())

    async def _renew(self) -> bool:
        key = new_key()
        try:
            answer = await self._ask(self.credentials.offer(), csr_der(key))
            issued = issued_files(key, list(answer.certificate_chain), list(answer.trust_bundle))
            self.files.write_candidate(issued.key_pem, issued.chain_pem, issued.ca_pem)
        except grpc.aio.AioRpcError as error:
            _log.warning("certificate_not_renewed", code=error.code().name, details=error.details())
            return False
        except (OSError, ValueError) as error:
            _log.error("certificate_not_renewed", details=str(error))
            return False
        _log.info("certificate_renewed", expires=issued.expires.isoformat())
        return True

    async def _ask(self, shown: Offer, csr: bytes) -> agent_service_pb2.RenewCertificateResponse:
        credentials = grpc.ssl_channel_credentials(shown.ca_pem, shown.key_pem, shown.certificate_pem)
        async with secure_channel(self.address, credentials) as channel:
            stub = agent_service_pb2_grpc.AgentServiceStub(channel)
            return await stub.RenewCertificate(agent_service_pb2.RenewCertificateRequest(csr=csr), timeout=TIMEOUT_S)
