"""A head and its replicas are changed together, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.declaration import Outcome
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import RuntimeId, instance_name
from control_plane.domain.runtime import DesiredState, Runtime
from control_plane.domain.runtime_set import following, replica_ids
from control_plane.use_cases import announcements
from control_plane.use_cases.once import Request, remember, repeated
from control_plane.use_cases.ports import Transaction
from control_plane.use_cases.rows import runtime_of, save_runtime


@dataclass(frozen=True, slots=True)
class Followed:
    """What becomes of one replica."""

    before: Runtime | None
    after: Runtime
    """Of a removed one: as it was."""
    outcome: Outcome


def replicas_of(tx: Transaction, head: Runtime) -> list[Runtime]:
    """In the order of their numbers. A replica itself has none."""
    rows = (tx.runtimes.get(replica) for replica in replica_ids(head.id, head.spec.replicas))
    return [row for row in rows if row is not None and row.replica_of == head.id]


def members(tx: Transaction, runtime: Runtime) -> list[Runtime]:
    """Whom an order to this runtime is meant for: itself first, then its replicas."""
    return [runtime, *replicas_of(tx, runtime)]


def ordered(tx: Transaction, runtime: RuntimeId, asked: Request) -> list[Runtime]:
    """Whom this order is meant for; nobody when it was carried out before. NotFound."""
    row = runtime_of(tx, runtime)
    if repeated(tx, asked) is not None:
        return []
    remember(tx, asked)
    return members(tx, row)


def check_declared(runtime: Runtime, what: str) -> None:
    """InvalidArgument for a replica: it cannot be `what` alone."""
    head = runtime.replica_of
    if head is not None:
        text = f"{runtime.id} is a replica of {head}, and cannot be {what} by itself."
        remedy = f"Name {head}; or change how many there are: `arwctl runtime scale {head} N`."
        raise InvalidArgument(text, remedy, runtime=runtime.id, replica_of=head)


def follows(
    tx: Transaction, before: Runtime | None, head: Runtime, now: datetime, *, heed: bool = False
) -> Iterator[Followed]:
    """What a head that was `before` makes of its replicas. `heed`: also of whether they run."""
    kept = replica_ids(head.id, head.spec.replicas)
    known = {row.id: row for row in replicas_of(tx, before)} if before is not None else {}
    for replica in kept:
        row = known.pop(replica, None)
        after = following(head, row, replica, now, heed=heed)
        changed = Outcome.UNCHANGED if after == row else Outcome.UPDATED
        yield Followed(row, after, Outcome.CREATED if row is None else changed)
    for row in known.values():
        yield Followed(row, row, Outcome.REMOVED)


def follow(
    tx: Transaction, before: Runtime | None, head: Runtime, now: datetime, *, heed: bool = False, cause: str = ""
) -> list[tuple[Runtime, Outcome]]:
    """Carry it out, and say so. `head`: as it was saved. `cause`: of what starts by this; empty: nothing does."""
    return [_carried_out(tx, each, now, cause) for each in list(follows(tx, before, head, now, heed=heed))]


def forget(tx: Transaction, runtime: Runtime, now: datetime) -> tuple[RuntimeId, ...]:
    """Its node stops it, and theirs its replicas. All that are gone."""
    gone = members(tx, runtime)
    for row in gone:
        _forgotten(tx, row, now)
    return tuple(row.id for row in gone)


def _carried_out(tx: Transaction, each: Followed, now: datetime, cause: str) -> tuple[Runtime, Outcome]:
    if each.outcome is Outcome.REMOVED:
        _forgotten(tx, each.after, now)
    if each.outcome in (Outcome.REMOVED, Outcome.UNCHANGED):
        return each.after, each.outcome
    saved = save_runtime(tx, each.after, now)
    tx.journal.append(announcements.declared(saved, now, each.outcome.value))
    if cause and saved.desired_state is DesiredState.RUNNING:
        tx.journal.append(announcements.restore_requested(saved, now, cause))
    return saved, each.outcome


def _forgotten(tx: Transaction, row: Runtime, now: datetime) -> None:
    if row.node is not None:
        tx.desired.bury(row.node, instance_name(row.node, row.id))
    tx.runtimes.delete(row.id)
    tx.journal.append(announcements.of_runtime("runtime.deleted", row.id, now, node=row.node or ""))
