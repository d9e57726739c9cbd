"""What applying a manifest would do to one runtime, and where that would put it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.manifest_entry import entry, flat
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Runtime


class Action(StrEnum):
    NOTHING = "nothing"
    CREATE = "create"
    CHANGE = "change"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """JSON values; None: not set."""

    key: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class PlannedRuntime:
    id: RuntimeId
    action: Action
    before: Runtime | None
    after: Runtime | None
    """None: removed."""
    node: NodeId | None = None
    """Where it would be placed."""
    problem: Problem | None = None
    """Why it would have no place."""

    @property
    def changes(self) -> tuple[FieldChange, ...]:
        """Of a replica none: they are its head's."""
        return tuple(_changes(self.before, self.after)) if self.replica_of is None else ()

    @property
    def replica_of(self) -> RuntimeId | None:
        row = self.after or self.before
        return row.replica_of if row is not None else None


@dataclass(frozen=True, slots=True)
class PlannedModel:
    id: ModelId
    action: Action


def _changes(before: Runtime | None, after: Runtime | None) -> Iterator[FieldChange]:
    old, new = _said(before), _said(after)
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            yield FieldChange(key, old.get(key), new.get(key))


def _said(runtime: Runtime | None) -> dict[str, Any]:
    said = dict(flat(entry(runtime.id, runtime.spec))) if runtime is not None else {}
    return {key: value for key, value in said.items() if key != "id"}
