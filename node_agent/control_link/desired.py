"""What this node holds of desired state, and which part of a batch changes it. Pure; outlives streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from node_agent.control_link.actions import Store
from node_agent.control_link.messages import DesiredBatch, ResourceProblem, Wanted
from node_agent.domain.digest import digest
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import Problem
from node_agent.use_cases.ports import DesiredSnapshot


@dataclass(frozen=True, slots=True)
class RefusedSpec:
    """A wanted spec that this node would not take; what it had before stays."""

    wanted: Wanted
    problem: Problem

    @property
    def report(self) -> ResourceProblem:
        return ResourceProblem(self.wanted.name, self.wanted.generation, self.problem)


class DesiredKeeper:
    """The stored set in memory. `commit` follows a durable write, never leads it."""

    def __init__(self, stored: DesiredSnapshot, accepted_history: str = "") -> None:
        self.history_id = stored.history_id
        self.revision = stored.revision
        self.specs = {spec.name: spec for spec in stored.specs}
        self.complete = bool(stored.history_id) and not stored.outdated
        """A whole set was stored at some time, and nothing newer was acted on since."""
        self.accepted_history = accepted_history
        """The one other history that this node's owner agreed to."""
        self.distrusted = False
        """Its digest differed from the control plane's: the next Hello asks for everything."""
        self.refused: dict[InstanceName, RefusedSpec] = {}
        self._incoming = _Incoming("")

    @property
    def digest(self) -> bytes:
        return digest(self.specs.values())

    @property
    def hello_history(self) -> str:
        """Empty asks for a snapshot, whatever the revision."""
        return "" if self._starts_over else self.history_id

    @property
    def hello_revision(self) -> int:
        return 0 if self._starts_over else self.revision

    @property
    def _starts_over(self) -> bool:
        return self.distrusted or (bool(self.accepted_history) and self.accepted_history != self.history_id)

    @property
    def foreign(self) -> bool:
        """The control plane lives in a history that nobody here agreed to."""
        theirs = self._incoming.history_id
        return bool(self.history_id) and theirs not in (self.history_id, self.accepted_history)

    def begin(self, history_id: str) -> None:
        """A stream was opened; nothing half-received counts any more."""
        self._incoming = _Incoming(history_id)

    def accept(self, history_id: str) -> None:
        self.accepted_history = history_id

    def objection(self, batch: DesiredBatch) -> Problem | None:
        """Why the whole batch is refused; None when it may be looked at."""
        if self.foreign:
            return self._history_changed()
        if not self._adopting and batch.to_revision < self.revision:
            return _stale(batch.to_revision, self.revision)
        return _twice(batch)

    def gap(self, batch: DesiredBatch) -> bool:
        """Changes before this delta never came, so it cannot be built upon."""
        if batch.snapshot:
            return False
        if self._adopting:
            return bool(self.specs) or batch.from_revision > 0
        return batch.from_revision > self.revision

    def fresh(self, batch: DesiredBatch) -> tuple[Wanted, ...]:
        """The resources that are newer than what is stored."""
        return tuple(wanted for wanted in batch.resources if self._is_news(wanted))

    def change(self, batch: DesiredBatch, admitted: Collection[InstanceSpec]) -> Store:
        """What to write for this chunk."""
        if not batch.snapshot:
            self._incoming.restart()
        self._incoming.take(batch, admitted)
        if self._adopting and self.specs and not batch.last_chunk:
            return Store(self._incoming.history_id, None)
        changed = self._incoming.specs if self._adopting and self.specs else tuple(admitted)
        revision = batch.to_revision if batch.last_chunk else None
        change = Store(self._incoming.history_id, revision, tuple(changed), self._removed(batch))
        if batch.last_chunk:
            self._incoming.restart()
        return change

    def is_empty(self, change: Store) -> bool:
        """Nothing to write: a resent chunk, or a part that waits in memory for the rest."""
        same_place = (change.history_id, change.revision) == (self.history_id, self.revision) and self.complete
        return (same_place or change.revision is None) and not change.changed and not change.removed

    def commit(self, change: Store) -> None:
        """The change is on disk."""
        self.history_id = change.history_id
        if change.revision is not None:
            self.revision, self.complete = change.revision, True
        for spec in change.changed:
            self.specs[spec.name] = spec
            self.refused.pop(spec.name, None)
        for name in change.removed:
            self.specs.pop(name, None)

    def forget_refusals(self, batch: DesiredBatch, seen_all: bool) -> None:
        """A removed resource is no problem any more."""
        gone = {removal.name for removal in batch.removals}
        if seen_all:
            gone |= self.refused.keys() - self._incoming.last_names
        for name in gone:
            self.refused.pop(name, None)

    @property
    def _adopting(self) -> bool:
        return self._incoming.history_id != self.history_id

    def _is_news(self, wanted: Wanted) -> bool:
        stored = self.specs.get(wanted.name)
        return self._adopting or stored is None or wanted.revision > stored.revision

    def _removed(self, batch: DesiredBatch) -> tuple[InstanceName, ...]:
        if batch.snapshot:
            return self._absent(batch) if batch.last_chunk else ()
        named = {removal.name: removal.revision for removal in batch.removals}
        return tuple(name for name, spec in self.specs.items() if named.get(name, 0) > spec.revision)

    def _absent(self, batch: DesiredBatch) -> tuple[InstanceName, ...]:
        """What a whole snapshot does not name, unless it is younger than the snapshot."""
        old = (name for name, spec in self.specs.items() if self._adopting or spec.revision <= batch.to_revision)
        return tuple(name for name in old if name not in self._incoming.names)

    def _history_changed(self) -> Problem:
        theirs = self._incoming.history_id
        return Problem(
            "HISTORY_CHANGED",
            f"The control plane's records start anew (history {theirs}; this node knows {self.history_id}), "
            "so nothing is changed here.",
            f"When that is right, run on this node: arw-node-agent accept-history {theirs}",
            {"history": theirs, "known_history": self.history_id},
        )


@dataclass(slots=True)
class _Incoming:
    """The chunks of a set that is still arriving."""

    history_id: str
    names: set[InstanceName] = field(default_factory=set)
    last_names: set[InstanceName] = field(default_factory=set)
    """Of the newest complete set."""
    _specs: dict[InstanceName, InstanceSpec] = field(default_factory=dict)

    @property
    def specs(self) -> tuple[InstanceSpec, ...]:
        return tuple(self._specs.values())

    def take(self, batch: DesiredBatch, admitted: Collection[InstanceSpec]) -> None:
        self.names |= {wanted.name for wanted in batch.resources}
        self._specs.update({spec.name: spec for spec in admitted})

    def restart(self) -> None:
        self.last_names, self.names, self._specs = self.names, set(), {}


def _stale(offered: int, own: int) -> Problem:
    return Problem(
        "STALE_REVISION",
        f"A batch up to revision {offered} arrived, but this node has already stored revision {own}.",
        "Let the replica catch up with its database.",
        {"offered": str(offered), "stored": str(own)},
    )


def _twice(batch: DesiredBatch) -> Problem | None:
    names = [wanted.name for wanted in batch.resources] + [removal.name for removal in batch.removals]
    doubled = sorted(name for name, times in Counter(names).items() if times > 1)
    if not doubled:
        return None
    text = f"One batch names {doubled[0]} twice, so it is ambiguous."
    return Problem("PROTOCOL_VIOLATION", text, "Report this as a fault of the control plane.", {"instance": doubled[0]})
