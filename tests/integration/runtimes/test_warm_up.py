"""Prompts that are to be read beforehand, and an engine that does not read them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from node_agent.domain.spec import EngineSettings
from node_agent.domain.status import InstanceState
from tests.fakes.local_node import TIMERS, LocalNode, until, until_ready

SETTINGS = EngineSettings(slots=2, warm_up_prompts=("You are terse.",))


async def test_an_engine_that_never_reads_its_prompts_serves_once_their_time_is_over(node: LocalNode) -> None:
    await node.make_engine(mute=True)
    timers = replace(TIMERS, warm_up=timedelta(seconds=0.3))
    async with node.agent(node.spec(settings=SETTINGS), timers=timers) as supervisor:
        status = await until_ready(supervisor)
    assert status.detail[1:] == (
        "warmed up with 0 of 1 prompts",
        "Warm-up prompt 1 was not read: it took too long.",
    )


async def test_an_engine_that_dies_of_its_prompts_was_never_ready(node: LocalNode) -> None:
    await node.make_engine(mute=True, exit_after=0.4, exit_code=3)
    async with node.agent(node.spec(settings=SETTINGS)) as supervisor:
        status = await until(supervisor, lambda status: status.problem is not None)
    assert status.problem is not None
    assert status.problem.reason == "ENGINE_EXITED_BEFORE_READY"
    states = {seen.state for seen in node.history}
    assert InstanceState.READY not in states
    assert "Warming up, prompt 1 of 1" in {seen.summary for seen in node.history}


async def test_another_adapters_engine_is_not_asked_and_the_setting_is_refused(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent() as supervisor:
        problem = await supervisor.admit(node.spec(adapter="external", settings=SETTINGS))
    assert problem is not None
    assert (problem.reason, problem.metadata["settings"]) == ("SPEC_INVALID", "warm_up_prompts")
