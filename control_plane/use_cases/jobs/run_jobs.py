from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from control_plane.domain.errors import NotFound
from control_plane.domain.jobs.begin import Step, swapped
from control_plane.domain.jobs.ends import badly_ended, ended
from control_plane.domain.jobs.facts import Facts
from control_plane.domain.jobs.job import Job, JobKind, JobState
from control_plane.domain.jobs.steps import is_busy, next_step
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import Runtime
from control_plane.domain.runtime_set import replica_ids
from control_plane.use_cases.ask_probes import AskProbes, Prober
from control_plane.use_cases.jobs.book import JobBook
from control_plane.use_cases.jobs.changes import against, carry_out, facts_of
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.ports import Clock, Fleet, Store, Transaction


class RunJobs:
    """Take every unfinished job one step on; returns how many went on.

    For one loop of one control plane: call it after each change of intent, of liveness and of an instance, and every
    second, for time limits pass by themselves. Whatever a step does to a runtime is stored together with the job, so a
    control plane that is killed at any point goes on where it was.
    """

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        fleet: Fleet,
        clock: Clock,
        *,
        prober: Prober,
        book: JobBook,
        amnesty: timedelta,
    ) -> None:
        """`amnesty`: for that long after a start or a change of leaders no time limit counts: nodes may be away."""
        self._store = store
        self._mirror = mirror
        self._fleet = fleet
        self._clock = clock
        self._probes = AskProbes(prober, fleet, clock)
        self._book = book
        self._amnesty = amnesty
        self.led_anew()

    def led_anew(self) -> None:
        """This one runs the jobs from now on."""
        self._amnesty_until = self._clock.now() + self._amnesty

    async def __call__(self) -> int:
        await self._book.look()
        jobs = self._book.unfinished()
        self._probes.forget_all_but({job.id for job in jobs})
        if not jobs:
            return 0
        await self._mirror.look()
        return sum([await self._went_on(job) for job in jobs])

    async def _went_on(self, job: Job) -> bool:
        runtime = self._mirror.runtimes.get(job.order.runtime)
        facts = self._facts(job, runtime)
        step = next_step(job, facts)
        if step is None:
            return False
        try:
            return await self._store.write(lambda tx: _carried_out(tx, job, runtime, step, facts))
        except NotFound as refusal:
            end = Step(_impossible(job, step, refusal, facts))
            return await self._store.write(lambda tx: _carried_out(tx, job, runtime, end, facts))

    def _facts(self, job: Job, runtime: Runtime | None) -> Facts:
        now, busy = self._clock.now(), is_busy(job, self._book.unfinished())
        amnesty, rows = now < self._amnesty_until, self._replicas(runtime)
        if runtime is None or job.state is not JobState.QUEUED or job.order.kind is not JobKind.SWAP_MODEL:
            asked = self._probes(job, runtime)
            return facts_of(runtime, self._fleet, now, busy=busy, asked=asked, replicas=rows, amnesty=amnesty)
        wanted, model = swapped(runtime.spec, job), self._mirror.models.get(job.order.model)
        objection = against(wanted, (runtime, *rows), model, self._mirror.nodes.get, self._fleet)
        return facts_of(runtime, self._fleet, now, objection=objection, busy=busy, replicas=rows, amnesty=amnesty)

    def _replicas(self, runtime: Runtime | None) -> Sequence[Runtime]:
        known = replica_ids(runtime.id, runtime.spec.replicas) if runtime is not None else ()
        rows = (self._mirror.runtimes.get(replica) for replica in known)
        return [row for row in rows if row is not None and runtime is not None and row.replica_of == runtime.id]


def _carried_out(tx: Transaction, job: Job, runtime: Runtime | None, step: Step, facts: Facts) -> bool:
    """False when the job or the runtime changed since they were looked at: the next call sees to it."""
    if tx.jobs.get(job.id) != job or tx.runtimes.get(job.order.runtime) != runtime:
        return False
    carry_out(tx, step, facts)
    return True


def _impossible(job: Job, step: Step, refusal: NotFound, facts: Facts) -> Job:
    """A model that the step would have put is not registered any more."""
    problem = Problem.of(refusal)
    if job.previous is not None:
        return badly_ended(step.job, problem, facts.now)
    return ended(job, JobState.FAILED, facts.now, problem)
