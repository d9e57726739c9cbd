"""A control plane that dies at any write of a job: the next one brings it to the same end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from control_plane.domain.errors import StorageUnavailable
from control_plane.domain.ids import JobId
from control_plane.domain.instance import InstanceState
from control_plane.domain.jobs.job import Job, JobStage, JobState
from control_plane.domain.problem import Problem
from control_plane.use_cases.ports import Transaction
from tests.fakes.clock import NOON
from tests.fakes.control_plane import a_spec
from tests.fakes.faulty_store import Fault, FaultyStore
from tests.fakes.jobs import AMNESTY, LIMIT, Workshop, a_swap

READY, ERROR = InstanceState.READY, InstanceState.ERROR
BROKEN = Problem("MODEL_FILE_INVALID", "The file is no model.", "Use another file.")
T = TypeVar("T")


async def test_who_takes_over_gives_nodes_the_time_to_come_back(shop: Workshop) -> None:
    job = await shop.create(a_swap())
    shop.world.fleet.disconnect("n1", NOON)
    shop.world.clock.advance(LIMIT)
    shop.run.led_anew()
    assert (await shop.settled(job)).problem is None
    shop.world.clock.advance(AMNESTY)
    problem = (await shop.settled(job)).problem
    assert problem is not None
    assert problem.reason == "NODE_OFFLINE"


@dataclass(slots=True)
class Dying:
    """A store whose write number `at` takes the control plane with it."""

    inner: FaultyStore
    at: int
    fault: Fault
    writes: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def write(self, change: Callable[[Transaction], T]) -> T:
        self.writes += 1
        if self.writes == self.at:
            self.inner.fail_next(self.fault)
        return await self.inner.write(change)


async def tried(shop: Workshop) -> Job:
    """The whole course of a swap that fails, as far as the control plane lives."""
    job = await shop.create(a_swap(), JobId("mine"))
    if job.stage is JobStage.FORWARD:
        shop.says(ERROR, generation=2, incarnation=2, problem=BROKEN)
        await shop.settled(job)
    if (runtime := await shop.world.runtime()).generation == 3:
        shop.says(READY, generation=runtime.generation, incarnation=3)
    return await shop.settled(job)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("at", range(1, 5))
async def test_f62_a_death_at_any_write_leaves_the_same_end(shop: Workshop, at: int, fault: Fault) -> None:
    world, sound = shop.world, shop.world.store
    world.store = Dying(FaultyStore(sound), at, fault)
    with suppress(StorageUnavailable):
        await tried(Workshop(world))
    world.store = sound
    job = await tried(Workshop(world))
    assert (job.state, job.problem, job.rolled_back) == (JobState.FAILED, BROKEN, True)
    assert ((await world.runtime()).spec, (await world.runtime()).generation) == (a_spec(), 3)
    topics = await world.topics()
    assert (topics.count("orchestrator.job.created"), topics.count("orchestrator.job.completed")) == (1, 1)
