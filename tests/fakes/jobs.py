"""Jobs on a control plane without edges: ordered, run, and answered by a node that a test plays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from control_plane.domain.ids import JobId, ModelId, NodeId, RuntimeId
from control_plane.domain.instance import InstanceState
from control_plane.domain.jobs.job import Job, JobKind, JobOrder
from control_plane.manifests.reader import Reader
from control_plane.manifests.writer import Writer
from control_plane.use_cases.jobs.book import JobBook
from control_plane.use_cases.jobs.cancel_job import CancelJob
from control_plane.use_cases.jobs.create_job import CreateJob
from control_plane.use_cases.jobs.read_jobs import GetJob
from control_plane.use_cases.jobs.run_jobs import RunJobs
from tests.fakes.control_plane import World, an_instance

CHAT, NODE = RuntimeId("chat"), NodeId("n1")
LIMIT, AMNESTY = timedelta(minutes=10), timedelta(seconds=15)


def an_order(kind: JobKind, **changed: Any) -> JobOrder:
    said: dict[str, Any] = {"runtime": CHAT, "time_limit": kind.time_limit, **changed}
    return JobOrder(kind, **said)


def a_swap(model: str = "other", **changed: Any) -> JobOrder:
    return an_order(JobKind.SWAP_MODEL, model=ModelId(model), **changed)


@dataclass(slots=True)
class Workshop:
    """One replica that runs jobs; `restarted` is the one after it."""

    world: World
    can_probe: bool = False
    """Whether nodes take requests to ask their engines now."""
    probes: list[tuple[NodeId, RuntimeId, str]] = field(default_factory=list)
    book: JobBook = field(init=False)
    create: CreateJob = field(init=False)
    run: RunJobs = field(init=False)

    def __post_init__(self) -> None:
        world = self.world
        self.book = JobBook(world.store)
        self.create = CreateJob(world.store, world.fleet, world.clock, world.randomness, Reader(), Writer(), self.book)
        self.run = RunJobs(
            world.store, world.mirror, world.fleet, world.clock, prober=self, book=self.book, amnesty=AMNESTY
        )

    def restarted(self) -> Workshop:
        """Nothing that was in memory is known any more, but what nodes say again."""
        return Workshop(self.world)

    def probe(self, node: NodeId, runtime: RuntimeId, request: str) -> bool:
        """The Prober of its own."""
        self.probes.append((node, runtime, request))
        return self.can_probe

    async def job(self, job: Job | JobId) -> Job:
        return await GetJob(self.world.store)(job if isinstance(job, str) else job.id)

    async def cancel(self, job: Job) -> Job:
        return await CancelJob(self.world.store, self.world.clock)(job.id)

    async def settled(self, job: Job) -> Job:
        """Once nothing goes on any more without the node or the clock."""
        while await self.run():
            pass
        return await self.job(job)

    def says(self, state: InstanceState, generation: int, incarnation: int = 1, **more: Any) -> None:
        """The node reports the instance."""
        said = {"observed_generation": generation, "incarnation": incarnation, "update_time": self.world.clock.now()}
        self.world.fleet.record(an_instance(state=state, **{**said, **more}))

    def heard(self) -> None:
        """The node's heartbeat."""
        liveness = self.world.fleet.contacts[NODE]
        self.world.fleet.contacts[NODE] = replace(liveness, last_contact=self.world.clock.now())
