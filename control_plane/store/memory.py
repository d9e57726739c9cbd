"""The store in memory: the fast stand-in for tests, kept honest by the same contract suite."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import uuid4

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
from control_plane.store import codec
from control_plane.store.board_view import Limits
from control_plane.store.memory_tables import (
    MemoryDesiredTable,
    MemoryJournal,
    MemoryNodes,
    MemoryRequestLog,
    MemoryTable,
    State,
)
from control_plane.store.retention import node_not_found
from control_plane.store.sole_board import SOLE_TERM, SoleBoard
from control_plane.use_cases.lost_history import JUMP
from control_plane.use_cases.ports import (
    USUALLY_KEPT,
    Change,
    Clock,
    DesiredTable,
    Journal,
    RequestLog,
    Table,
    Transaction,
)

T = TypeVar("T")


class MemoryStore:
    """Fills the ports Store and Upkeep. Nothing survives the process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._state = State()
        self._listeners: list[Callable[[int], None]] = []

    async def write(self, change: Callable[[Transaction], T]) -> T:
        return await self._write(change)

    async def read(self, query: Callable[[Transaction], T]) -> T:
        # Runs at once, on what was committed when it was asked; then gives way, as a disk would.
        result = query(MemoryTransaction(self._state, self._clock))
        await asyncio.sleep(0)
        return result

    def is_newest(self, revision: int) -> bool:
        return revision == self._state.revision

    def on_change(self, listener: Callable[[int], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def compact(self, keep_revisions: int) -> int:
        return await self._write(lambda transaction: transaction.compact(keep_revisions))

    async def prune(self, now: datetime, kept: EventsKept = USUALLY_KEPT) -> int:
        return await self._write(lambda transaction: transaction.prune(now, kept))

    def board(self, _: Limits | None = None) -> SoleBoard:
        return SoleBoard(self._clock)

    async def close(self) -> None:
        self._listeners.clear()

    async def _write(self, change: Callable[[MemoryTransaction], T]) -> T:
        before, after = self._state, self._state.copy()
        result = change(MemoryTransaction(after, self._clock))
        after.is_writable = False
        self._state = after
        if (before.revision, before.last_event_id) != (after.revision, after.last_event_id):
            for listener in tuple(self._listeners):
                asyncio.get_running_loop().call_soon(listener, after.revision)
        await asyncio.sleep(0)
        return result


class MemoryTransaction:
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

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._has_revision = False
        self._journal = self.journal = MemoryJournal(state, clock)
        self._requests = self.requests = MemoryRequestLog(state, clock)
        self.nodes = MemoryNodes(state, partial(self.revise, "nodes"))
        self.runtimes = MemoryTable(state, "runtimes", codec.RUNTIME, partial(self.revise, "runtimes"))
        self.models = MemoryTable(state, "models", codec.MODEL, partial(self.revise, "models"))
        self.join_tokens = MemoryTable(state, "join_tokens", codec.JOIN_TOKEN)
        self.operators = MemoryTable(state, "operators", codec.OPERATOR)
        self.jobs = MemoryTable(state, "jobs", codec.JOB, partial(self.revise, "jobs"))
        self.projects = MemoryTable(state, "projects", codec.PROJECT, partial(self.revise, "projects"))
        self.project_keys = MemoryTable(state, "project_keys", codec.PROJECT_KEY, partial(self.revise, "project_keys"))
        self.key_uses = MemoryTable(state, "key_uses", codec.KEY_USE)
        self.authorities = MemoryTable(state, "authorities", codec.AUTHORITY, partial(self.revise, "authorities"))
        self.claims = MemoryTable(state, "claims", codec.CLAIM, partial(self.revise, "claims"))
        self.claim_leases = MemoryTable(state, "claim_leases", codec.CLAIM_LEASE)
        self.desired = MemoryDesiredTable(state, self._take_revision)

    def revise(self, kind: str, name: str) -> int:
        change = Change(self._take_revision(), kind, name)
        if change not in self._state.changes:
            self._state.changes += (change,)
        return change.revision

    def revision(self) -> int:
        return self._state.revision

    def compacted_revision(self) -> int:
        return self._state.compacted_revision

    def history_id(self) -> str:
        return self._state.history_id

    def begin_history(self) -> str:
        state = self._state.changing()
        state.history_id = uuid4().hex
        state.revision, state.last_event_id = state.revision + JUMP, state.last_event_id + JUMP
        state.compacted_revision, state.changes = state.revision, ()
        state.desired = {key: row for key, row in state.desired.items() if row.content is not None}
        for node in map(codec.NODE.decode, tuple(state.rows.get("nodes", {}).values())):
            believed = replace(node, newer_certificate_believed=True, session_epoch=node.session_epoch + JUMP)
            state.rows["nodes"][node.id] = codec.NODE.encode(believed)
        return state.history_id

    def term(self) -> int:
        return SOLE_TERM

    def changes(self, after: int) -> Sequence[Change]:
        found = [change for change in self._state.changes if change.revision > after]
        return sorted(found, key=lambda change: (change.revision, change.kind, change.name))

    def open_session(self, node: NodeId) -> int:
        stored = self.nodes.get(node)
        if stored is None:
            raise node_not_found(node)
        self.nodes.put(replace(stored, session_epoch=stored.session_epoch + 1))
        return stored.session_epoch + 1

    def redeem(self, token: TokenId, now: datetime, node: NodeId, key_sha256: str) -> bool:
        stored = self.join_tokens.get(token)
        if stored is None or stored.use_time is not None or stored.expire_time <= now:
            return False
        self.join_tokens.put(replace(stored, use_time=now, used_by=node, used_key_sha256=key_sha256))
        return True

    def compact(self, keep_revisions: int) -> int:
        state = self._state.changing()
        floor = max(state.compacted_revision, state.revision - keep_revisions)
        state.changes = tuple(change for change in state.changes if change.revision > floor)
        kept = {key: row for key, row in state.desired.items() if row.content is not None or row.revision > floor}
        state.desired = kept
        state.compacted_revision = floor
        return floor

    def prune(self, now: datetime, kept: EventsKept) -> int:
        self._requests.prune(now)
        return self._journal.prune(now, kept)

    def _take_revision(self) -> int:
        if not self._has_revision:
            self._state.changing().revision += 1
            self._has_revision = True
        return self._state.revision
