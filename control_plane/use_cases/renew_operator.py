from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from control_plane.domain.ids import OperatorId
from control_plane.domain.operator import Operator
from control_plane.use_cases.authenticate_operator import accepted
from control_plane.use_cases.ports import Clock, IssuedCertificate, Store, Transaction

FORMER_KEPT = 8


class OperatorAuthority(Protocol):
    def issue_operator(self, csr_der: bytes, operator: OperatorId) -> IssuedCertificate:
        """InvalidArgument when the request is malformed or badly signed."""


@dataclass(frozen=True, slots=True)
class RenewOperator:
    """A new certificate for the same operator. Refusals as AuthenticateOperator; InvalidArgument for the request.

    Those before count until they end: a context file may lie in several places, each of which renews its own.
    """

    store: Store
    clock: Clock
    authority: OperatorAuthority

    async def __call__(
        self, operator: OperatorId, serial: str, expire_time: datetime, csr_der: bytes
    ) -> IssuedCertificate:
        issued = self.authority.issue_operator(csr_der, operator)

        def renew(tx: Transaction) -> None:
            row = accepted(tx.operators.get(operator), operator, serial, expire_time, self.clock.now())
            tx.operators.put(_renewed(row, issued))

        await self.store.write(renew)
        return issued


def _renewed(row: Operator, issued: IssuedCertificate) -> Operator:
    former = (row.certificate_serial, *row.former_serials)[:FORMER_KEPT]
    return replace(row, certificate_serial=issued.serial, issuer=issued.issuer, former_serials=former)
