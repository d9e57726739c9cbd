"""A runtime of several replicas: the head, which is declared, and `ID.2` to `ID.N`, which follow it.

Each is a row with a place of its own, so that fences, restarts and moves of one are no business of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from uuid import NAMESPACE_OID, uuid5

from control_plane.domain.ids import RuntimeId
from control_plane.domain.manifest import Fault, ManifestRuntime
from control_plane.domain.runtime import RestoreOrder, Runtime, RuntimeSpec

MAX_REPLICAS = 64


def replica_id(head: RuntimeId, number: int) -> RuntimeId:
    return RuntimeId(f"{head}.{number}")


def replica_ids(head: RuntimeId, replicas: int) -> tuple[RuntimeId, ...]:
    """The head is the first of so many, and has no number."""
    return tuple(replica_id(head, number) for number in range(2, replicas + 1))


def names(entry: ManifestRuntime) -> tuple[RuntimeId, ...]:
    """Every id that an entry takes."""
    return entry.id, *replica_ids(entry.id, entry.spec.replicas)


def numbered(runtime: RuntimeId) -> bool:
    """Whether the id could be one of a replica; most need not be looked up."""
    return runtime.rpartition(".")[2].isdecimal()


def set_of(runtime: Runtime) -> RuntimeId | None:
    """The head of its set; None: it is alone."""
    return runtime.replica_of or (runtime.id if runtime.spec.replicas > 1 else None)


def turn(runtime: Runtime) -> tuple[RuntimeId, int]:
    """In which order places are given: by id, and those of a set by their numbers."""
    head = runtime.replica_of
    return (head, int(runtime.id[len(head) + 1 :])) if head is not None else (runtime.id, 1)


def clashes(entries: Iterable[ManifestRuntime]) -> Iterator[Fault]:
    """Between what one manifest declares and the replicas that it asks for."""
    declared = {entry.id: entry for entry in entries}
    for head in declared.values():
        for replica in replica_ids(head.id, head.spec.replicas):
            if replica in declared:
                text = f"is the id of a replica of {head.id}, which has {head.spec.replicas}"
                yield Fault(text, f"runtime {replica}", declared[replica].line)


def following(head: Runtime, before: Runtime | None, replica: RuntimeId, now: datetime, *, heed: bool) -> Runtime:
    """A replica as its head has it. Revision and etag are the caller's.

    `before`: as it is; None: it is new. `heed`: whether it runs or not is up to its head too, and not to itself.
    """
    spec, declared = _alone(head.spec), _alone(head.declared) if head.declared is not None else None
    said = declared if declared != spec else None
    if before is None:
        return _new(head, replica, spec, said, now)
    return replace(
        before,
        spec=spec,
        declared=said,
        generation=before.generation + (spec != before.spec),
        desired_state=head.desired_state if heed else before.desired_state,
        source=head.source,
    )


def _new(head: Runtime, replica: RuntimeId, spec: RuntimeSpec, said: RuntimeSpec | None, now: datetime) -> Runtime:
    """Its uid stems from the head's, at the revision that asked for it: none is ever given twice."""
    return Runtime(
        id=replica,
        uid=str(uuid5(NAMESPACE_OID, f"{head.uid} {replica} {head.revision}")),
        etag="",
        spec=spec,
        desired_state=head.desired_state,
        generation=1,
        revision=0,
        create_time=now,
        update_time=now,
        restore=RestoreOrder(),
        source=head.source,
        declared=said,
        replica_of=head.id,
    )


def _alone(spec: RuntimeSpec) -> RuntimeSpec:
    return replace(spec, replicas=1)
