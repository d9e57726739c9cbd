"""Whatever happens between a control plane and two agents, once it is over they agree, and nobody went back in time."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from node_agent.control_link.actions import Store
from node_agent.control_link.desired import DesiredKeeper
from node_agent.control_link.messages import DesiredBatch
from node_agent.domain.digest import digest
from node_agent.domain.spec import InstanceSpec
from node_agent.domain.status import Problem
from tests.fakes.desired_history import DesiredHistory
from tests.fakes.sync_pair import SyncPair

NODES = ("n1", "n2")
REPLICAS = (0, 1)
A_NODE = st.sampled_from(NODES)
A_REPLICA = st.sampled_from(REPLICAS)
A_RUNTIME = st.sampled_from(("a", "b", "c", "d", "e"))


class BareSync(RuleBasedStateMachine):
    """Revisions, tombstones and the compaction floor must do: no digest helps."""

    digests: ClassVar[bool] = False
    keeper_type: ClassVar[type[DesiredKeeper]] = DesiredKeeper
    new_history: ClassVar[Callable[[], DesiredHistory]] = DesiredHistory

    def __init__(self) -> None:
        super().__init__()
        self.history = type(self).new_history()
        self.replicas = [self.history.replica() for _ in REPLICAS]
        self.pairs = {node: SyncPair(node, self.keeper_type, self.digests) for node in NODES}
        self.highest = dict.fromkeys(NODES, 0)

    @rule(runtime=A_RUNTIME, node=A_NODE)
    def declare_or_move(self, runtime: str, node: str) -> None:
        self.history.put(runtime, node)

    @rule(node=A_NODE)
    def declare_many(self, node: str) -> None:
        for runtime in "abcde":
            self.history.put(runtime, node)

    @precondition(lambda self: self.history.places)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.history.delete(data.draw(st.sampled_from(sorted(self.history.places))))

    @rule()
    def compact(self) -> None:
        self.history.compact()

    @rule(number=A_REPLICA)
    def catch_up(self, number: int) -> None:
        self.replicas[number] = self.history.replica()

    @rule(node=A_NODE)
    def notice(self, node: str) -> None:
        self.pairs[node].notify()

    @rule(node=A_NODE, number=A_REPLICA)
    def connect(self, node: str, number: int) -> None:
        self.pairs[node].connect(lambda: self.replicas[number])

    @rule(node=A_NODE, messages=st.integers(1, 6))
    def deliver(self, node: str, messages: int) -> None:
        """Some messages, so that a cut may fall between any two chunks."""
        pair = self.pairs[node]
        for _ in range(messages):
            if not pair.up():
                pair.down()

    @rule(node=A_NODE)
    def settle(self, node: str) -> None:
        self.pairs[node].settle()

    @rule(node=A_NODE)
    def cut(self, node: str) -> None:
        self.pairs[node].cut()

    @rule(node=A_NODE, number=A_REPLICA, messages=st.integers(0, 9))
    def cut_in_the_middle(self, node: str, number: int, messages: int) -> None:
        self.declare_many(node)
        self.catch_up(number)
        self.connect(node, number)
        self.deliver(node, messages)
        self.cut(node)

    @rule(node=A_NODE)
    def crash(self, node: str) -> None:
        self.pairs[node].crash()

    @invariant()
    def no_revision_goes_back(self) -> None:
        for node, pair in self.pairs.items():
            assert pair.bench.disk.revision >= self.highest[node]
            self.highest[node] = pair.bench.disk.revision

    def teardown(self) -> None:
        """Heal everything, let it drain, and compare."""
        self.replicas = [self.history.replica() for _ in REPLICAS]
        for node, pair in self.pairs.items():
            self._heal(pair)
            self.no_revision_goes_back()
            self._compare(node, pair)
            # A stream on which nothing was said hears of the newest revision by a bookmark; a new one at once.
            pair.cut()
            self._heal(pair)
            self._compare(node, pair)
            assert pair.bench.disk.revision == self.history.revision

    def _compare(self, node: str, pair: SyncPair) -> None:
        stored = {spec.name: (spec.generation, spec.revision) for spec in pair.bench.disk.specs.values()}
        live = {row.name: (row.generation, row.revision) for row in self.history.live(node)}
        assert stored == live
        assert digest(pair.bench.disk.specs.values()) == self.history.digest(node)

    def _heal(self, pair: SyncPair) -> None:
        for _ in range(4):
            if not pair.connected:
                pair.connect(lambda: self.replicas[0])
            pair.notify()
            pair.settle()


class Sync(BareSync):
    """The same with digests, refused resources and disks that fill up."""

    digests = True

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()
        for pair in self.pairs.values():
            pair.bench.admit = self._admit

    @rule(runtime=A_RUNTIME)
    def refuse_or_take(self, runtime: str) -> None:
        self.refused ^= {runtime}

    @rule(node=A_NODE, broken=st.booleans())
    def fill_or_empty_disk(self, node: str, broken: bool) -> None:
        self.pairs[node].bench.disk.broken = broken

    def _admit(self, spec: InstanceSpec) -> Problem | None:
        if spec.runtime_id in self.refused:
            return Problem("MODEL_FILE_MISSING", "There is no file.", "Copy it.")
        return None

    def _heal(self, pair: SyncPair) -> None:
        self.refused.clear()
        pair.bench.disk.broken = False
        pair.cut()
        super()._heal(pair)
        # Every half minute a node looks again at what it refused.
        for _ in range(4):
            pair.bench.wait(9)
            pair.settle()


class EagerKeeper(DesiredKeeper):
    """A mistake: takes a part of a batch for the whole."""

    def change(self, batch: DesiredBatch, admitted: Collection[InstanceSpec]) -> Store:
        change = super().change(batch, admitted)
        return Store(change.history_id, batch.to_revision, change.changed, change.removed)


class NoTombstoneOnMove(BareSync):
    new_history = partial(DesiredHistory, tombstone_on_move=False)


class NoCompactionFloor(BareSync):
    new_history = partial(DesiredHistory, compaction_floor=False)


class RevisionAheadOfItsBatch(BareSync):
    keeper_type = EagerKeeper


MANY = settings(
    max_examples=120,
    stateful_step_count=30,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
UNTIL_CAUGHT = settings(MANY, max_examples=1000, phases=[Phase.generate])


@pytest.mark.parametrize("machine", [BareSync, Sync], ids=["revisions alone", "with digests, refusals, full disks"])
def test_after_any_history_both_sides_hold_the_same(machine: type[BareSync]) -> None:
    run_state_machine_as_test(machine, settings=MANY)


@pytest.mark.parametrize("mutant", [NoTombstoneOnMove, NoCompactionFloor, RevisionAheadOfItsBatch])
def test_the_model_catches_each_known_mistake(mutant: type[BareSync]) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(mutant, settings=UNTIL_CAUGHT)
