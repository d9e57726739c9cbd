from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain import secret
from control_plane.domain.errors import InvalidId
from control_plane.domain.ids import OperatorId, checked
from control_plane.domain.operator import Operator
from control_plane.use_cases.ports import Clock, Randomness, Store, Transaction


@dataclass(frozen=True, slots=True)
class OperatorGrant:
    operator: Operator
    token: str
    """ "{operator id}.{secret}": shown once, kept as a hash."""


@dataclass(frozen=True, slots=True)
class GrantOperator:
    """Make an operator's credentials; for one that exists, new ones, and the old ones end. InvalidId."""

    store: Store
    clock: Clock
    randomness: Randomness

    async def __call__(
        self, operator: OperatorId, *, name: str = "", certificate_serial: str = "", issuer: str = ""
    ) -> OperatorGrant:
        """`issuer`: who signed the certificate."""
        _check(operator)
        text = secret.crockford(self.randomness.secret(secret.SECRET_BYTES))
        row = Operator(
            operator, name or operator, secret.hashed(text), self.clock.now(), certificate_serial, issuer=issuer
        )
        await self.store.write(lambda tx: _put(tx, row))
        return OperatorGrant(row, f"{operator}.{text}")


def _check(operator: OperatorId) -> None:
    """The id is part of a token and of a certificate's name, so two characters are left out."""
    checked(operator, "operator")
    if "." in operator or "/" in operator:
        raise InvalidId(f"{operator!r} is no valid operator id.", "Leave out '.' and '/'.", id=operator)


def _put(tx: Transaction, row: Operator) -> None:
    tx.operators.put(row)
