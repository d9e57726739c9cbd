"""What use cases need from outside. Each docstring is the promise that every implementation keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from control_plane.domain.authority import Authority
from control_plane.domain.claims.claim import Claim, Lease
from control_plane.domain.desired import DesiredRow, Placed
from control_plane.domain.errors import ManifestInvalid
from control_plane.domain.event import Event, EventsKept
from control_plane.domain.footprint import Footprints
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
from control_plane.domain.instance import Instance
from control_plane.domain.jobs.job import Job
from control_plane.domain.join_token import JoinToken
from control_plane.domain.manifest import Manifest, ManifestForm, ManifestRuntime
from control_plane.domain.matrix import HttpFigures
from control_plane.domain.model import Model
from control_plane.domain.node import HeldRemoval, Liveness, Node
from control_plane.domain.operator import Operator
from control_plane.domain.problem import Problem
from control_plane.domain.profile import Profile
from control_plane.domain.project import KeyUse, Project, ProjectKey
from control_plane.domain.runtime import Runtime

T = TypeVar("T")
Row = TypeVar("Row")
Key_contra = TypeVar("Key_contra", contravariant=True)
USUALLY_KEPT = EventsKept()


class Clock(Protocol):
    """Aware UTC time. The only clock that use cases read."""

    def now(self) -> datetime: ...


class Table(Protocol[Key_contra, Row]):
    """Rows of one kind by id, each read and written whole."""

    def get(self, key: Key_contra) -> Row | None: ...

    def put(self, row: Row) -> None:
        """Insert or replace by id."""

    def delete(self, key: Key_contra) -> None:
        """Deleting what is not there does nothing."""

    def page(self, after: str, limit: int) -> Sequence[Row]:
        """Rows with id > after, in id order, at most `limit`."""

    def all(self) -> Sequence[Row]:
        """Every row, in id order."""


class DesiredTable(Protocol):
    """Desired state by node, with tombstones until compaction."""

    def put(self, node: NodeId, name: str, generation: int, content: Placed) -> None:
        """Write the resource at this transaction's revision."""

    def bury(self, node: NodeId, name: str) -> None:
        """Replace the resource by a tombstone at this transaction's revision."""

    def since(self, node: NodeId, revision: int) -> Sequence[DesiredRow]:
        """Rows and tombstones with a higher revision, in revision order, then name."""

    def live(self, node: NodeId) -> Sequence[DesiredRow]:
        """Rows that are no tombstones, in name order."""

    def changed_nodes(self, revision: int) -> Sequence[NodeId]:
        """Nodes that have a row or tombstone with a higher revision, each once."""


class Journal(Protocol):
    """Append-only events with growing ids."""

    def append(self, event: Event) -> None: ...

    def after(self, event_id: int, prefixes: Sequence[str], limit: int) -> Sequence[Event]:
        """Events with a higher id whose kind starts with a prefix (none: all), oldest first."""

    def newest(self, prefixes: Sequence[str], limit: int) -> Sequence[Event]:
        """The newest such events, oldest first."""

    def last_id(self) -> int: ...


class RequestLog(Protocol):
    """Answers remembered by (method, request id) for an hour, so that a repeated call is no second change."""

    def remembered(self, method: str, request_id: str, request_sha256: str) -> bytes | None:
        """The stored answer; RequestIdReused when the id was used with another request."""

    def remember(self, method: str, request_id: str, request_sha256: str, answer: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Change:
    """A row of the change log: what has this name in the table `kind` was put or deleted at this revision."""

    revision: int
    kind: str
    name: str


class Transaction(Protocol):
    """One atomic change. Everything in it becomes durable together, or nothing does.

    What it puts into or deletes from a table is in the change log at its revision, but of tokens, operators, uses
    and leases.
    """

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

    def revise(self, kind: str, name: str) -> int:
        """This transaction's revision (one a transaction), and `kind` `name` logged as changed in it.

        Only a row that carries the revision itself needs the call: every put and delete makes it.
        """

    def revision(self) -> int:
        """The newest revision, this transaction's own included."""

    def compacted_revision(self) -> int:
        """History at or before this is gone; an older reader needs a snapshot."""

    def history_id(self) -> str: ...

    def begin_history(self) -> str:
        """Before any change of the transaction: a new history, whose id is returned.

        Everything that was declared stays. Revisions, event ids, session epochs and terms go on a million further, all
        changes so far count as compacted, and certificates that nodes may have got since are believed once.
        """

    def term(self) -> int:
        """The term of whoever leads now; 0: nobody ever led. On a store of one process always the same."""

    def changes(self, after: int) -> Sequence[Change]:
        """What was logged at revisions > after, in revision order; complete when after >= compacted_revision."""

    def open_session(self, node: NodeId) -> int:
        """The node's next session epoch, stored on its row, as a change of it."""

    def redeem(self, token: TokenId, now: datetime, node: NodeId, key_sha256: str) -> bool:
        """Mark an unused, unexpired token used, in one statement; False when another was first or it is over."""


class Store(Protocol):
    """Durable state with one writer. `write` returns after the change is on disk."""

    async def write(self, change: Callable[[Transaction], T]) -> T:
        """Run `change` in a transaction; its exception rolls its own part back, and no other.

        It runs again when it lost against another user of the database. StorageUnavailable when that is full, broken
        or away.
        """

    async def read(self, query: Callable[[Transaction], T]) -> T:
        """Run `query` on one consistent snapshot; it must not write."""

    def is_newest(self, revision: int) -> bool:
        """Whether it is known without a read that nothing was committed after this revision."""

    def on_change(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Call `listener(revision)` on the loop after each commit that took a revision or appended an event.

        Returns how to stop.
        """


class Upkeep(Protocol):
    """What a store needs done now and then."""

    async def compact(self, keep_revisions: int) -> int:
        """Forget changes and tombstones older than the newest `keep_revisions`; returns the compacted revision."""

    async def prune(self, now: datetime, kept: EventsKept = USUALLY_KEPT) -> int:
        """Forget events beyond what is kept and answers beyond an hour; returns how many events."""


class Fleet(Protocol):
    """What is known in memory: who is connected, and what each node last reported."""

    def liveness(self, node: NodeId) -> Liveness: ...

    def online(self) -> Iterable[NodeId]: ...

    def instance(self, node: NodeId, runtime: RuntimeId) -> Instance | None:
        """What the node last reported, or None; on an offline node its state reads unknown."""

    def instances(self, node: NodeId | None = None) -> Sequence[Instance]:
        """Everything reported, or what one node reported; states as `instance` gives them."""

    def footprints(self) -> Footprints:
        """What launches took on any node, as told since this control plane started; bounded."""

    def record(self, instance: Instance) -> Instance | None:
        """Keep a report and return the one it replaces."""

    def forget(self, node: NodeId, runtime: RuntimeId) -> None: ...

    def trouble(self, node: NodeId, problems: Sequence[Problem], held: Sequence[HeldRemoval] = ()) -> None:
        """What is wrong with the node as a whole from now on, and the removals that it holds back."""

    def on_node(self, listener: Callable[[NodeId], None]) -> Callable[[], None]:
        """Call `listener(node)` on the loop whenever a node came, went, or said anew what is wrong with it.

        Returns how to stop.
        """

    def on_instance(self, listener: Callable[[NodeId, RuntimeId], None]) -> Callable[[], None]:
        """Call `listener(node, runtime)` on the loop whenever what is known of an instance changed.

        That is: a report that differs, a forgotten instance, and each instance of a node that came or went.
        Returns how to stop.
        """


class CertificateAuthority(Protocol):
    """Signs keys. Ignores every name in a request and writes its own."""

    trust_domain: str

    def key_of(self, csr_der: bytes) -> str:
        """SHA-256 of the request's public key (SPKI), lower-case hex; InvalidArgument as issue_node."""

    def issue_node(self, csr_der: bytes, node: NodeId) -> IssuedCertificate:
        """InvalidArgument when the request is malformed or badly signed."""

    def trust_bundle(self) -> tuple[bytes, ...]:
        """DER of every CA to trust."""

    @property
    def bundle_digest(self) -> str:
        """Of `trust_bundle`, in whatever order."""


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    chain: tuple[bytes, ...]
    """DER, leaf first."""
    serial: str
    """Lower-case hex."""
    expire_time: datetime
    public_key_sha256: str
    issuer: str = ""
    """Id of the authority that signed it."""


class Randomness(Protocol):
    """Where secrets and unique ids come from. Safe to call on any thread."""

    def uid(self) -> str:
        """A fresh UUID4."""

    def secret(self, length: int) -> bytes:
        """`length` bytes that nobody can guess."""


class ManifestReader(Protocol):
    """Reads what an operator wrote."""

    def read(self, content: bytes, form: ManifestForm, source: str) -> Manifest:
        """ManifestInvalid names every problem found, each with its key and line."""


class ProfileReader(Protocol):
    """The profiles that there are."""

    def read(self) -> Mapping[str, Profile | ManifestInvalid]:
        """By name, as they are now; of one that is refused why. It reads files."""


class ManifestWriter(Protocol):
    """Writes what a ManifestReader reads as the same."""

    def written(self, runtimes: Sequence[ManifestRuntime], form: ManifestForm) -> bytes:
        """InvalidArgument when that is more than a manifest may hold."""


class Traffic(Protocol):
    """What the gateway measured lately."""

    def window(self, node: NodeId) -> HttpFigures | None:
        """Requests that this node answered in the last minutes; None when nothing measures it."""
