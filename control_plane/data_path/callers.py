from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date

from control_plane.domain import secret
from control_plane.domain.ids import KeyId, OperatorId
from control_plane.domain.operator import Operator
from control_plane.domain.project import ProjectKey
from control_plane.use_cases.ports import Clock
from control_plane.use_cases.project_book import ProjectBook
from gateway.ports import Caller
from gateway.refusals import ProjectDisabled, Unauthorized

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
        operator_id, given = _parted(authorization)
        operator = self._operators.get(OperatorId(operator_id))
        # The comparison runs whether the operator exists or not, so time tells nothing.
        good = secret.matches(given, operator.token_sha256 if operator else "")
        if not good or operator is None or operator.revoked:
            self._missed()
            return None
        return Caller(operator.id, operator.name)


class InferenceCallers:
    """Who may ask for inference: keys of projects, beside operators. Nothing else is open to keys."""

    def __init__(self, operators: OperatorTokens, projects: ProjectBook, clock: Clock) -> None:
        self._operators = operators
        self._projects = projects
        self._clock = clock
        self._used: dict[KeyId, date] = {}

    def authenticate(self, authorization: str | None) -> Caller | None:
        """Unauthorized and ProjectDisabled say why a good key does not count, to none but its holder."""
        id_, given = _parted(authorization)
        key = self._projects.keys.get(KeyId(id_))
        good = secret.matches(given, key.secret_sha256 if key else "")
        if not good or key is None:
            return self._operators.authenticate(authorization)
        return self._let_in(key)

    def taken_uses(self) -> dict[KeyId, date]:
        """The keys that were used since this was asked last, each with the last day (UTC)."""
        used, self._used = self._used, {}
        return used

    def _let_in(self, key: ProjectKey) -> Caller:
        now, project = self._clock.now(), key.project
        if over := key.over(now):
            raise Unauthorized(
                f"This key of project {project} is {over}.",
                f"Have another one made: arwctl project key create {project}.",
                project=project,
            )
        row = self._projects.projects.get(project)
        if row is None or row.disabled:
            raise ProjectDisabled(
                f"Project {project} is disabled.",
                f"An operator can enable it: arwctl project update {project} --enable.",
                project=project,
            )
        self._used[key.id] = now.date()
        return Caller(key.id, key.label, project)


def _parted(authorization: str | None) -> tuple[str, str]:
    """(id, secret) of a bearer token; empty when there is none."""
    scheme, _, token = (authorization or "").partition(" ")
    return (secret.parted(token) if scheme.lower() == _SCHEME else None) or ("", "")
