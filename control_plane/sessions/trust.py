"""What agents are told of the authorities, and what they say."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from arw.v1 import authority_pb2, session_pb2
from control_plane.domain.authority import Authority, AuthorityState, digest, trusted
from control_plane.messages.times import duration_to_proto
from control_plane.sessions.connection import AgentConnection
from control_plane.sessions.rules import TRUST
from control_plane.use_cases.report_trust import ReportTrust
from wire.refusal import Refusal

TOLD_AT_ONCE = 100
"""Streams told before the loop gets its turn."""


class Authorities(Protocol):
    """As this process follows them."""

    @property
    def rows(self) -> Sequence[Authority]: ...

    def check_issuer(self, issuer: str) -> None:
        """CertificateRevoked when the authority of this id counts no more."""


@dataclass(frozen=True, slots=True)
class TrustTold:
    authorities: Authorities
    report: ReportTrust
    renew_within: timedelta
    """Agents spread over it what they renew of a tainted authority."""

    async def heard(self, connection: AgentConnection, told: str) -> None:
        """A node said whom it trusts."""
        if told != connection.trusts:
            await self.report(connection.node, told)
            connection.trusts = sys.intern(told)
        rows = self.authorities.rows
        if told != digest(rows) or connection.presented.issuer in _tainted(rows):
            self.tell(connection)

    async def changed(self, connections: Sequence[AgentConnection]) -> None:
        """Tell all that are open; those that stand on a revoked authority end."""
        for number, connection in enumerate(connections, start=1):
            if number % TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                self.authorities.check_issuer(connection.presented.issuer)
            except Refusal as refusal:
                connection.end(refusal)
            else:
                self.tell(connection)

    def tell(self, connection: AgentConnection) -> None:
        """Once a stream for each state of things: an agent answers with what it has, whether or not it took that."""
        rows = self.authorities.rows
        state = (digest(rows), *_tainted(rows))
        if connection.can(TRUST) and connection.trust_told != state:
            connection.trust_told = state
            connection.say(session_pb2.ControlMessage(trust_bundle=self._bundle()))

    def _bundle(self) -> authority_pb2.TrustBundle:
        rows = self.authorities.rows
        return authority_pb2.TrustBundle(
            certificates=[row.certificate for row in trusted(rows)],
            tainted_key_ids=[bytes.fromhex(row) for row in _tainted(rows)],
            renew_within=duration_to_proto(self.renew_within),
        )


def _tainted(rows: Sequence[Authority]) -> list[str]:
    return [row.id for row in rows if row.state is AuthorityState.TAINTED]
