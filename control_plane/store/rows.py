"""The tables of a transaction over SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from control_plane.domain.authority import Authority
from control_plane.domain.claims.claim import Claim, Lease
from control_plane.domain.desired import DesiredRow, Placed
from control_plane.domain.ids import NodeId
from control_plane.domain.jobs.job import Job
from control_plane.domain.join_token import JoinToken
from control_plane.domain.model import Model
from control_plane.domain.node import Node
from control_plane.domain.operator import Operator
from control_plane.domain.project import KeyUse, Project, ProjectKey
from control_plane.domain.runtime import Runtime
from control_plane.store import codec
from control_plane.store.codec import Codec
from control_plane.store.session import Record, Session
from control_plane.store.statements import RowStatements, Statements


class Identified(Protocol):
    @property
    def id(self) -> str: ...


Row = TypeVar("Row", bound=Identified)
Key_contra = TypeVar("Key_contra", bound=str, contravariant=True)


@dataclass(frozen=True, slots=True)
class Kind(Generic[Row]):
    """How rows of one kind lie in their table: id, then columns, then document."""

    codec: Codec[Row]
    statements: Callable[[Statements], RowStatements]
    columns: Callable[[Row], Mapping[str, object]]
    restore: Callable[[Row, Record], Row]
    """The row as its columns, which are the truth, have it."""


class SqlTable(Generic[Key_contra, Row]):
    """`revise` is told the id of every row that is put or deleted."""

    def __init__(self, session: Session, kind: Kind[Row], revise: Callable[[str], object] | None = None) -> None:
        self._session = session
        self._kind = kind
        self._revise = revise
        self._statements = kind.statements(session.statements)

    def get(self, key: Key_contra) -> Row | None:
        record = self._session.one(self._statements.get, id=key)
        return None if record is None else self._row(record)

    def put(self, row: Row) -> None:
        document = self._kind.codec.encode(row)
        self._session.run(self._statements.put, id=row.id, document=document, **self._kind.columns(row))
        self._touched(row.id)

    def delete(self, key: Key_contra) -> None:
        if self._session.run(self._statements.delete, id=key):
            self._touched(key)

    def page(self, after: str, limit: int) -> Sequence[Row]:
        return [self._row(record) for record in self._session.rows(self._statements.page, after=after, limit=limit)]

    def all(self) -> Sequence[Row]:
        return [self._row(record) for record in self._session.rows(self._statements.all)]

    def _touched(self, key: str) -> None:
        if self._revise is not None:
            self._revise(key)

    def _row(self, record: Record) -> Row:
        return self._kind.restore(self._kind.codec.decode(record[-1]), record[1:-1])


class SqlDesiredTable:
    def __init__(self, session: Session, take_revision: Callable[[], int]) -> None:
        self._session = session
        self._take_revision = take_revision

    def put(self, node: NodeId, name: str, generation: int, content: Placed) -> None:
        self._session.run(
            self._session.statements.desired_put,
            node=node,
            name=name,
            revision=self._take_revision(),
            generation=generation,
            document=codec.PLACED.encode(content),
        )

    def bury(self, node: NodeId, name: str) -> None:
        self._session.run(self._session.statements.desired_bury, node=node, name=name, at=self._take_revision())

    def since(self, node: NodeId, revision: int) -> Sequence[DesiredRow]:
        records = self._session.rows(self._session.statements.desired_since, node=node, after=revision)
        return [_desired_row(*record) for record in records]

    def live(self, node: NodeId) -> Sequence[DesiredRow]:
        records = self._session.rows(self._session.statements.desired_live, node=node)
        return [_desired_row(*record) for record in records]

    def changed_nodes(self, revision: int) -> Sequence[NodeId]:
        return [node for (node,) in self._session.rows(self._session.statements.desired_changed, after=revision)]


def _desired_row(node: NodeId, name: str, revision: int, generation: int, document: str | None) -> DesiredRow:
    content = None if document is None else codec.PLACED.decode(document)
    return DesiredRow(node, name, revision, generation, content)


def _restored_node(node: Node, columns: Record) -> Node:
    (epoch,) = columns
    return node if node.session_epoch == epoch else replace(node, session_epoch=epoch)


def _token_columns(token: JoinToken) -> dict[str, object]:
    return {
        "expire_time": codec.to_micros(token.expire_time),
        "use_time": None if token.use_time is None else codec.to_micros(token.use_time),
        "used_by": token.used_by,
        "used_key_sha256": token.used_key_sha256,
    }


def _restored_token(token: JoinToken, columns: Record) -> JoinToken:
    expire, use, used_by, used_key = columns
    use_time = None if use is None else codec.from_micros(use)
    expire_time = codec.from_micros(expire)
    return replace(token, expire_time=expire_time, use_time=use_time, used_by=used_by, used_key_sha256=used_key)


def _no_columns(_: Any) -> dict[str, object]:
    return {}


def _as_it_is(row: Row, _: Record) -> Row:
    return row


NODES = Kind(codec.NODE, lambda of: of.nodes, lambda node: {"session_epoch": node.session_epoch}, _restored_node)
RUNTIMES: Kind[Runtime] = Kind(codec.RUNTIME, lambda of: of.runtimes, _no_columns, _as_it_is)
MODELS: Kind[Model] = Kind(codec.MODEL, lambda of: of.models, _no_columns, _as_it_is)
OPERATORS: Kind[Operator] = Kind(codec.OPERATOR, lambda of: of.operators, _no_columns, _as_it_is)
JOBS: Kind[Job] = Kind(codec.JOB, lambda of: of.jobs, _no_columns, _as_it_is)
AUTHORITIES: Kind[Authority] = Kind(codec.AUTHORITY, lambda of: of.authorities, _no_columns, _as_it_is)
PROJECTS: Kind[Project] = Kind(codec.PROJECT, lambda of: of.projects, _no_columns, _as_it_is)
PROJECT_KEYS: Kind[ProjectKey] = Kind(codec.PROJECT_KEY, lambda of: of.project_keys, _no_columns, _as_it_is)
KEY_USES: Kind[KeyUse] = Kind(codec.KEY_USE, lambda of: of.key_uses, _no_columns, _as_it_is)
CLAIMS: Kind[Claim] = Kind(codec.CLAIM, lambda of: of.claims, _no_columns, _as_it_is)
CLAIM_LEASES: Kind[Lease] = Kind(codec.CLAIM_LEASE, lambda of: of.claim_leases, _no_columns, _as_it_is)
JOIN_TOKENS = Kind(codec.JOIN_TOKEN, lambda of: of.join_tokens, _token_columns, _restored_token)
