"""Engines that are asked now, because somebody wants to know."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from datetime import timedelta

from node_agent.domain.status import InstanceState, InstanceStatus
from node_agent.runtimes.supervisor import LocalSupervisor
from tests.fakes.instance_specs import NAME
from tests.fakes.local_node import TIMERS, LocalNode, engine_pid, until, until_ready, until_state

SELDOM = replace(TIMERS, probe_period=timedelta(minutes=10))
"""No probe but those that are asked for."""


async def answered(supervisor: LocalSupervisor, *requests: str) -> InstanceStatus:
    """The status that answers all of these."""
    for request in requests:
        supervisor.probe(NAME, request)
    return await until(supervisor, lambda status: set(requests) <= set(status.answered_probes))


async def test_an_engine_is_asked_at_once_however_seldom_it_is_probed(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec(), timers=SELDOM) as supervisor:
        status = await until_ready(supervisor)
        assert status.health is not None
        assert status.health.probe_latency is None
        status = await answered(supervisor, "j1")
        assert status.health is not None
        assert status.health.probe_latency is not None
        assert status.answered_probes == ("j1",)


async def test_an_engine_that_does_not_answer_is_told_of_and_not_restarted_for_being_asked(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec(), timers=SELDOM) as supervisor:
        ready = await until_ready(supervisor)
        os.kill(engine_pid(ready), signal.SIGSTOP)
        for number in range(SELDOM.probe_misses + 1):
            status = await answered(supervisor, f"j{number}")
            assert status.state is InstanceState.DEGRADED
            assert status.problem is not None
            assert (status.problem.reason, status.problem.metadata["misses"]) == ("PROBES_FAILED", "1")
        os.kill(engine_pid(ready), signal.SIGCONT)
        status = await answered(supervisor, "last")
        assert (status.state, status.incarnation, status.problem) == (InstanceState.READY, 1, None)


async def test_what_does_not_run_says_so_at_once(node: LocalNode) -> None:
    await node.make_engine(ready_after=60)
    async with node.agent(node.spec(), timers=SELDOM) as supervisor:
        await until_state(supervisor, InstanceState.STARTING)
        status = await answered(supervisor, "j1")
        assert (status.state, status.health) == (InstanceState.STARTING, None)


async def test_many_who_ask_at_once_are_answered_and_the_newest_sixteen_are_named(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec(), timers=SELDOM) as supervisor:
        await until_ready(supervisor)
        await answered(supervisor, "j0", "j1", "j0")
        assert (await answered(supervisor)).answered_probes == ("j0", "j1")
        requests = [f"k{number}" for number in range(20)]
        assert (await answered(supervisor, *requests[:4])).answered_probes[-4:] == tuple(requests[:4])
        assert (await answered(supervisor, *requests[4:])).answered_probes == tuple(requests[4:])
