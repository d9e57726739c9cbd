"""Transactions over SQL. The caller begins and ends them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from control_plane.domain.authority import Authority
from control_plane.domain.claims.claim import Claim, Lease
from control_plane.domain.event import EventsKept
from control_plane.domain.ids import (
    AuthorityId,
    ClaimId,
    JobId,
    KeyId,
    ModelId,
    NodeId,
    OperatorId,
    ProjectId,
    RuntimeId,
    TokenId,
)
from control_plane.domain.jobs.job import Job
from control_plane.domain.join_token import JoinToken
from control_plane.domain.model import Model
from control_plane.domain.node import Node
from control_plane.domain.operator import Operator
from control_plane.domain.project import KeyUse, Project, ProjectKey
from control_plane.domain.runtime import Runtime
from control_plane.store import board_tables, codec, rows
from control_plane.store.backup_history import begin_anew
from control_plane.store.board_tables import ROLE
from control_plane.store.counters import Counters, StoredCounters
from control_plane.store.journal import SqlJournal, SqlRequestLog
from control_plane.store.listeners import Position
from control_plane.store.retention import node_not_found
from control_plane.store.rows import SqlDesiredTable, SqlTable
from control_plane.store.session import Session
from control_plane.store.sole_board import SOLE_TERM
from control_plane.use_cases.ports import Change, Clock, DesiredTable, Journal, RequestLog, Table


class SqlTransaction:
    """One transaction after another on one session; making its parts anew each time would cost a statement's time."""

    nodes: Table[NodeId, Node]
    runtimes: Table[RuntimeId, Runtime]
    models: Table[ModelId, Model]
    join_tokens: Table[TokenId, JoinToken]
    operators: Table[OperatorId, Operator]
    jobs: Table[JobId, Job]
    projects: Table[ProjectId, Project]
    project_keys: Table[KeyId, ProjectKey]
    key_uses: Table[KeyId, KeyUse]
    authorities: Table[AuthorityId, Authority]
    claims: Table[ClaimId, Claim]
    claim_leases: Table[ClaimId, Lease]
    desired: DesiredTable
    journal: Journal
    requests: RequestLog

    def __init__(
        self, session: Session, clock: Clock, counters: Counters | None = None, *, is_shared: bool = False
    ) -> None:
        """`counters` of the caller, who stores them; without any, they are used where they are stored.

        `is_shared`: several processes write to the database.
        """
        self._session = session
        self._is_shared = is_shared
        self._counters = counters or StoredCounters(session)
        self._revision: int | None = None
        self._logged: set[tuple[str, str]] = set()
        self._journal = self.journal = SqlJournal(session, clock, self._counters)
        self._requests = self.requests = SqlRequestLog(session, clock)
        self.nodes = SqlTable(session, rows.NODES, partial(self.revise, "nodes"))
        self.runtimes = SqlTable(session, rows.RUNTIMES, partial(self.revise, "runtimes"))
        self.models = SqlTable(session, rows.MODELS, partial(self.revise, "models"))
        self.join_tokens = SqlTable(session, rows.JOIN_TOKENS)
        self.operators = SqlTable(session, rows.OPERATORS)
        self.jobs = SqlTable(session, rows.JOBS, partial(self.revise, "jobs"))
        self.projects = SqlTable(session, rows.PROJECTS, partial(self.revise, "projects"))
        self.project_keys = SqlTable(session, rows.PROJECT_KEYS, partial(self.revise, "project_keys"))
        self.key_uses = SqlTable(session, rows.KEY_USES)
        self.authorities = SqlTable(session, rows.AUTHORITIES, partial(self.revise, "authorities"))
        self.claims = SqlTable(session, rows.CLAIMS, partial(self.revise, "claims"))
        self.claim_leases = SqlTable(session, rows.CLAIM_LEASES)
        self.desired = SqlDesiredTable(session, self._take_revision)

    def restart(self) -> None:
        """Forget what the transaction before took."""
        self._revision = None
        self._logged.clear()
        self._journal.appended = False

    @property
    def is_news(self) -> bool:
        """True when it took a revision or appended an event."""
        return self._revision is not None or self._journal.appended

    def revise(self, kind: str, name: str) -> int:
        revision = self._take_revision()
        if (kind, name) not in self._logged:
            self._logged.add((kind, name))
            self._session.later(self._session.statements.log_change, revision=revision, kind=kind, name=name)
        return revision

    def revision(self) -> int:
        return self.position().revision if self._revision is None else self._revision

    def position(self) -> Position:
        return self._counters.position()

    def compacted_revision(self) -> int:
        return self._meta()[1]

    def history_id(self) -> str:
        return self._meta()[0]

    def term(self) -> int:
        if not self._is_shared:
            return SOLE_TERM
        record = self._session.one(self._session.statements.leader_term, role=ROLE)
        return int(record[0]) if record else 0

    def changes(self, after: int) -> Sequence[Change]:
        self._session.catch_up()
        return [Change(*record) for record in self._session.rows(self._session.statements.changes, after=after)]

    def open_session(self, node: NodeId) -> int:
        record = self._session.one(self._session.statements.open_session, node=node)
        if record is None:
            raise node_not_found(node)
        self.revise("nodes", node)
        return int(record[0])

    def redeem(self, token: TokenId, now: datetime, node: NodeId, key_sha256: str) -> bool:
        micros = codec.to_micros(now)
        used = {"use_time": micros, "used_by": node, "used_key_sha256": key_sha256}
        return self._session.run(self._session.statements.redeem, token=token, now=micros, **used) == 1

    def begin_history(self) -> str:
        self._session.catch_up()
        if self._is_shared:
            # It may be as old as the rest; who lives comes onto it anew.
            board_tables.empty(self._session)
        return begin_anew(self._session, self._counters)

    def compact(self, keep_revisions: int) -> int:
        self._session.catch_up()
        floor = max(self.compacted_revision(), self.revision() - keep_revisions)
        self._session.run(self._session.statements.forget_changes, floor=floor)
        self._session.run(self._session.statements.forget_tombstones, floor=floor)
        self._session.run(self._session.statements.compact, compacted_revision=floor)
        return floor

    def prune(self, now: datetime, kept: EventsKept) -> int:
        self._requests.prune(now)
        return self._journal.prune(now, kept)

    def _take_revision(self) -> int:
        if self._revision is None:
            self._revision = self._counters.take_revision()
        return self._revision

    def _meta(self) -> tuple[str, int]:
        ((history_id, compacted),) = self._session.rows(self._session.statements.meta)
        return history_id, compacted
