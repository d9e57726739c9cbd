"""One stream's batches: screened, checked, stored, acknowledged, one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from node_agent.control_link.actions import Action, Check, Desire, Leave, Store
from node_agent.control_link.desired import DesiredKeeper, RefusedSpec
from node_agent.control_link.messages import DesiredAck, DesiredBatch, ResourceProblem, Wanted
from node_agent.control_link.removal_guard import RemovalGuard
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import Problem
from node_agent.use_cases.ports import HeldInstance

MAX_WAITING = 16

Verdicts = Mapping[InstanceName, Problem | None]


@dataclass(slots=True)
class _Work:
    """The batch in hand; no batch when refused specs are only looked at again."""

    batch: DesiredBatch | None
    fresh: tuple[Wanted, ...]
    change: Store | None = None
    problems: list[ResourceProblem] = field(default_factory=list)


class DesiredIntake:
    """Acks are left in `acks` for the writer; everything else comes back as actions."""

    def __init__(
        self,
        keeper: DesiredKeeper,
        guard: RemovalGuard,
        running: Callable[[], Collection[InstanceName]],
        storage_retry: float,
    ) -> None:
        self.acks: deque[DesiredAck] = deque()
        self.synced = False
        """A complete set was stored on this stream."""
        self.resync_due: float | None = None
        """Set after a failed write: when to ask for what could not be stored."""
        self._keeper = keeper
        self._guard = guard
        self._running = running
        self._storage_retry = storage_retry
        self._waiting: deque[DesiredBatch] = deque()
        self._work: _Work | None = None
        self._last_nonce = 0
        self._storage: Problem | None = None

    @property
    def idle(self) -> bool:
        return self._work is None and not self._waiting

    def receive(self, batch: DesiredBatch, now: float) -> list[Action]:
        if batch.nonce <= self._last_nonce:
            return []
        self._last_nonce = batch.nonce
        if len(self._waiting) >= MAX_WAITING:
            return [Leave("The control plane sent more batches than it may have unanswered.")]
        self._waiting.append(batch)
        return self._proceed(now)

    def recheck(self, now: float) -> list[Action]:
        """Look again at what was refused: the missing file may lie there by now."""
        if not self.idle or not self._last_nonce or self._storage:
            return []
        fresh = tuple(refused.wanted for refused in self._keeper.refused.values() if _spec(refused.wanted))
        return self._start(_Work(None, fresh), now) if fresh else []

    def checked(self, verdicts: Verdicts, now: float) -> list[Action]:
        work = self._in_hand()
        admitted = self._judge(work, verdicts)
        if work.batch is None:
            change = Store(self._keeper.history_id, None, tuple(admitted))
        else:
            change = self._keeper.change(work.batch, admitted)
        work.change = change = replace(change, held=self._held_after(change, work.batch, now))
        if self._keeper.is_empty(change) and change.held == self._guard.held:
            return self.stored(now)
        return [change]

    def stored(self, now: float) -> list[Action]:
        """The change is durable: it counts, and only now it is acknowledged."""
        work = self._in_hand()
        change = work.change or Store(self._keeper.history_id, None, held=self._guard.held)
        before, was_complete = self._desire(), self._keeper.complete
        self._guard.keep(change.held)
        if not self._keeper.is_empty(change):
            self._keeper.commit(change)
        after = self._desire()
        # Before this node ever knew a whole set, a part of one says nothing about what else runs here.
        news = self._keeper.complete and (after != before or not was_complete)
        actions: list[Action] = [after] if news else []
        return actions + self._finish(work, now)

    def unstored(self, problem: Problem, now: float) -> list[Action]:
        """Nothing of the change counts. What follows on this stream would build on it, so it is refused too."""
        work = self._in_hand()
        self._storage, self.resync_due = problem, now + self._storage_retry
        self._work = None
        if work.batch is not None:
            self._refuse(work.batch, problem)
        return self._proceed(now)

    @property
    def release_due(self) -> float | None:
        """When something held has waited long enough. Not before this stream brought what is wanted now."""
        return self._guard.next_event() if self.synced and self.idle and not self._storage else None

    def release(self, now: float) -> list[Action]:
        """Let go of what waited long enough, on disk first: a restart must not bring it back."""
        due = self.release_due
        if due is None or now < due:
            return []
        release = Store(self._keeper.history_id, None, held=self._guard.remaining(now))
        self._work = _Work(None, (), release)
        return [release]

    def _desire(self) -> Desire:
        return self._guard.desire(self._keeper.specs)

    def _proceed(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while self._work is None and self._waiting:
            batch = self._waiting.popleft()
            actions += self._screen(batch, now)
        return actions

    def _screen(self, batch: DesiredBatch, now: float) -> list[Action]:
        objection = self._storage or self._keeper.objection(batch)
        if objection:
            self._refuse(batch, objection)
            return []
        if self._keeper.gap(batch):
            return [Leave(f"Revisions before {batch.from_revision} are missing here.")]
        return self._start(_Work(batch, self._keeper.fresh(batch)), now)

    def _start(self, work: _Work, now: float) -> list[Action]:
        self._work = work
        specs = tuple(spec for wanted in work.fresh if (spec := _spec(wanted)))
        return [Check(specs)] if specs else self.checked({}, now)

    def _in_hand(self) -> _Work:
        if self._work is None:
            raise RuntimeError("an answer came without a batch in hand")
        return self._work

    def _judge(self, work: _Work, verdicts: Verdicts) -> list[InstanceSpec]:
        """Note what is refused, and return what is not."""
        admitted: list[InstanceSpec] = []
        for wanted in work.fresh:
            problem = wanted.spec if isinstance(wanted.spec, Problem) else verdicts.get(wanted.name)
            if problem is None and isinstance(wanted.spec, InstanceSpec):
                admitted.append(wanted.spec)
            elif problem is not None:
                self._keeper.refused[wanted.name] = RefusedSpec(wanted, problem)
                work.problems.append(ResourceProblem(wanted.name, wanted.generation, problem))
        return admitted

    def _held_after(self, change: Store, batch: DesiredBatch | None, now: float) -> tuple[HeldInstance, ...]:
        """What may not stop yet once the change counts. A node that lost its records counts all that it finds."""
        allowed = batch.allowed_removals if batch else ()
        return self._guard.without(self._judged(change, now), allowed)

    def _judged(self, change: Store, now: float) -> tuple[HeldInstance, ...]:
        keeper, running = self._keeper, self._running()
        if not keeper.complete and change.revision is None:
            return self._guard.held
        wanted = (keeper.specs.keys() - set(change.removed)) | {spec.name for spec in change.changed}
        before = keeper.specs.keys() if keeper.complete else set(running)
        stops = {name: keeper.specs.get(name) for name in before - wanted}
        return self._guard.judged(stops, wanted, running, now)

    def _finish(self, work: _Work, now: float) -> list[Action]:
        self._work = None
        batch = work.batch
        if batch is None:
            self._ack(self._last_nonce, tuple(refused.report for refused in self._keeper.refused.values()))
            return self._proceed(now)
        whole = batch.snapshot and batch.last_chunk
        self._keeper.forget_refusals(batch, whole)
        self._ack(batch.nonce, tuple(work.problems))
        return self._compare(batch) + self._proceed(now)

    def _compare(self, batch: DesiredBatch) -> list[Action]:
        """After a complete batch both sides hold the same, or the node asks for everything, once."""
        if not batch.last_chunk:
            return []
        self.synced = True
        keeper = self._keeper
        same = not batch.digest_after or batch.digest_after == keeper.digest
        if same or keeper.refused:
            keeper.distrusted = keeper.distrusted and not batch.snapshot
            return []
        if batch.snapshot and keeper.distrusted:
            keeper.distrusted = False
            return []
        keeper.distrusted = True
        return [Leave("What is stored here differs from what the control plane expects; asking for all of it.")]

    def _refuse(self, batch: DesiredBatch, problem: Problem) -> None:
        named = problem.metadata.get("instance", "")
        self._ack(batch.nonce, (ResourceProblem(named, 0, problem),))

    def _ack(self, nonce: int, problems: tuple[ResourceProblem, ...]) -> None:
        """Whatever an acknowledgement says of its batch, it names all that the guard holds."""
        problems += self._guard.problems()
        self.acks.append(DesiredAck(nonce, self._keeper.revision, self._keeper.digest, problems))


def _spec(wanted: Wanted) -> InstanceSpec | None:
    return wanted.spec if isinstance(wanted.spec, InstanceSpec) else None
