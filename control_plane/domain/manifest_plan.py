"""What applying a manifest would do to one runtime, and where that would put it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.manifest_entry import entry, flat
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import DesiredState, Intents, Runtime, RuntimeSpec


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
    def restarts(self) -> bool:
        """Whether an engine that runs now would be started again, or another beside it."""
        if self.before is None or self.after is None or self.before.desired_state is not DesiredState.RUNNING:
            return False
        return self.after.desired_state is DesiredState.RUNNING and _launch(self.before) != _launch(self.after)

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


def _launch(runtime: Runtime) -> tuple[Hashable, ...]:
    """What an engine is started with."""
    spec = runtime.spec
    own = spec.adapter, spec.model, spec.settings, spec.accelerator, spec.on_missing_accelerator, spec.execution
    return *own, repr(spec.process), repr(spec.external), *_left_to_node(spec).items()


def _said(runtime: Runtime | None) -> dict[str, Any]:
    if runtime is None:
        return {}
    said = dict(flat(entry(runtime.id, runtime.spec)))
    return {key: value for key, value in said.items() if key != "id"} | _left_to_node(runtime.spec)


def _left_to_node(spec: RuntimeSpec) -> dict[str, Any]:
    """What a profile says that is settled only where the runtime is placed."""
    profile = spec.basis.profile if spec.basis is not None else Intents()
    left = {"threads_share": profile.threads_share, "tuning": profile.tuning}
    return {f"profile.{name}": value for name, value in left.items() if value is not None}
