from __future__ import annotations

from collections.abc import Callable, Iterable

from control_plane.domain import secret
from control_plane.domain.ids import OperatorId
from control_plane.domain.operator import Operator
from gateway.ports import Caller

_SCHEME = "bearer"


class OperatorTokens:
    """Bearer tokens checked against hashes kept in memory; an unknown one asks for newer hashes."""

    def __init__(self, missed: Callable[[], None]) -> None:
        self._missed = missed
        self._operators: dict[OperatorId, Operator] = {}

    def replace(self, operators: Iterable[Operator]) -> None:
        """Operators changed."""
        self._operators = {operator.id: operator for operator in operators}

    def authenticate(self, authorization: str | None) -> Caller | None:
        scheme, _, token = (authorization or "").partition(" ")
        operator_id, given = secret.parted(token) or ("", "")
        operator = self._operators.get(OperatorId(operator_id))
        # The comparison runs whether the operator exists or not, so time tells nothing.
        good = secret.matches(given, operator.token_sha256 if operator else "")
        if scheme.lower() != _SCHEME or not good or operator is None or operator.revoked:
            self._missed()
            return None
        return Caller(operator.id, operator.name)
