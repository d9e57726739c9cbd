from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from control_plane.domain import secret
from control_plane.domain.errors import (
    CertificateExpired,
    CertificateNotActive,
    CertificateRevoked,
    CertificateUnknown,
    Unauthenticated,
)
from control_plane.domain.ids import OperatorId
from control_plane.domain.operator import Operator
from control_plane.use_cases.ports import Clock, Store
from wire.refusal import Refusal

_REMEDY = "Make a new context file on the control plane: `arw-control-plane init`."


@dataclass(frozen=True, slots=True)
class AuthenticateOperator:
    """Who is asking."""

    store: Store
    clock: Clock

    async def by_token(self, token: str) -> Operator:
        """Unauthenticated, in the same words and time whatever is wrong."""
        operator_id, given = secret.parted(token) or ("", "")
        row = await self.store.read(lambda tx: tx.operators.get(OperatorId(operator_id)))
        if not secret.matches(given, row.token_sha256 if row else "") or row is None or row.revoked:
            raise Unauthenticated("The bearer token is not valid.", _REMEDY)
        return row

    async def by_certificate(self, operator: OperatorId, serial: str, expire_time: datetime) -> Operator:
        """CertificateUnknown, -Revoked, -Expired, -NotActive."""
        row = await self.store.read(lambda tx: tx.operators.get(operator))
        return accepted(row, operator, serial, expire_time, self.clock.now())


def accepted(row: Operator | None, operator: OperatorId, serial: str, expire_time: datetime, now: datetime) -> Operator:
    """Whose certificate this is. CertificateUnknown, -Revoked, -Expired, -NotActive."""
    if row is None:
        raise CertificateUnknown(f"There is no operator {operator}.", _REMEDY, operator=operator)
    refused = _refusal(row, serial, expire_time, now)
    if refused:
        raise refused
    return row


def _refusal(row: Operator, serial: str, expire_time: datetime, now: datetime) -> Refusal | None:
    if row.revoked:
        return CertificateRevoked(f"Operator {row.id} was revoked.", _REMEDY, operator=row.id)
    if expire_time <= now:
        return CertificateExpired(f"The certificate of operator {row.id} expired.", _REMEDY, operator=row.id)
    if not row.certificate_serial or serial not in (row.certificate_serial, *row.former_serials):
        return CertificateNotActive(
            f"This certificate of operator {row.id} was replaced by a newer one.", _REMEDY, operator=row.id
        )
    return None
