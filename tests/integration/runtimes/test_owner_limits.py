"""The owner's word on real engines: refused, told, reclaimed with notice, and let run again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, timedelta

import pytest

from node_agent.domain.hours import Hours
from node_agent.domain.inventory import Accelerator
from node_agent.domain.limits import Choice, Limits
from node_agent.domain.spec import EngineSettings
from node_agent.domain.status import InstanceState
from node_agent.local_limits.amounts import windows
from node_agent.runtimes.process import start_ticks
from node_agent.runtimes.supervisor import LocalSupervisor
from tests.fakes.local_node import LocalNode, engine_pid, until, until_gone, until_ready, until_state

FREE = Limits(file="/etc/node_agent.toml")
NEVER = Hours(UTC, "UTC", windows("mon 00:00-24:00")[:0])
NO_LLAMA = replace(FREE, adapters=Choice(deny=frozenset({"llama.cpp"})), grace=timedelta(seconds=0.3))


@dataclass(slots=True)
class Word:
    now: Limits = FREE

    def say(self, limits: Limits, supervisor: LocalSupervisor) -> None:
        self.now = limits
        supervisor.look_again()

    def __call__(self) -> Limits:
        return self.now


async def test_t15_a_spec_that_the_owner_forbids_is_refused_and_starts_nothing(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(limits=Word(NO_LLAMA)) as supervisor:
        problem = await supervisor.admit(node.spec())
        assert problem is not None
        assert (problem.reason, problem.metadata["rule"]) == ("LOCAL_POLICY_DENIED", "adapters.deny")
        supervisor.desire([node.spec()])
        status = await until_state(supervisor, InstanceState.OFFLINE)
        assert status.problem == problem
    assert node.starts == []


async def test_what_runs_is_given_notice_then_reclaimed_and_starts_again_when_it_may(node: LocalNode) -> None:
    await node.make_engine()
    word = Word()
    async with node.agent(node.spec(), limits=word) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
        word.say(NO_LLAMA, supervisor)
        told = await until(supervisor, lambda status: status.problem is not None)
        assert (told.state, engine_pid(told)) == (InstanceState.READY, pid), "it serves until the notice is over"
        assert told.summary.startswith("Stops at ")
        ended = await until_state(supervisor, InstanceState.OFFLINE)
        assert ended.problem is not None
        assert ended.problem.reason == "LOCAL_POLICY_DENIED"
        await until_gone(pid)
        word.say(FREE, supervisor)
        again = await until_ready(supervisor)
        assert again.problem is None
        assert again.budget is not None
        assert again.budget.used == 0, "the owner's word costs no restart"


async def test_a_word_that_is_taken_back_within_the_notice_changes_nothing(node: LocalNode) -> None:
    await node.make_engine()
    word = Word()
    async with node.agent(node.spec(), limits=word) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
        word.say(replace(NO_LLAMA, grace=timedelta(seconds=60)), supervisor)
        await until(supervisor, lambda status: status.problem is not None)
        word.say(FREE, supervisor)
        back = await until(supervisor, lambda status: status.problem is None)
        assert (back.state, back.summary, engine_pid(back)) == (InstanceState.READY, "Ready", pid)


@pytest.mark.parametrize(
    "limits",
    [replace(FREE, hours=replace(NEVER, stops=False)), replace(FREE, unreadable="line 1: colour is not known")],
    ids=["drain", "unreadable"],
)
async def test_what_only_keeps_out_new_things_leaves_what_runs_also_over_a_restart(
    node: LocalNode, limits: Limits
) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
    changed = node.spec(settings=EngineSettings(slots=4))
    async with node.agent(changed, limits=Word(limits)) as supervisor:
        await supervisor.adopted()
        assert engine_pid(await until_ready(supervisor)) == pid, "it is adopted, and its changed spec waits"
        new = node.spec(name=type(changed.name)("nodes/n/instances/new"))
        supervisor.desire([changed, new])
        status = await until(supervisor, lambda status: status.name == new.name and status.problem is not None)
        assert status.state is InstanceState.OFFLINE
    assert start_ticks(pid) is not None
    assert node.starts == [pid]


async def test_outside_its_hours_a_node_stops_what_runs(node: LocalNode) -> None:
    await node.make_engine()
    word = Word()
    async with node.agent(node.spec(), limits=word) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
        word.say(replace(FREE, hours=NEVER, grace=timedelta(seconds=0.2)), supervisor)
        ended = await until_state(supervisor, InstanceState.OFFLINE)
        assert ended.problem is not None
        assert ended.problem.metadata["rule"] == "hours"
        await until_gone(pid)


async def test_t15_an_engine_gets_only_the_devices_that_the_owner_lets_it_use(node: LocalNode) -> None:
    await node.make_engine()
    cards = (
        Accelerator("cpu", "cpu"),
        Accelerator("GPU-aaaa", "gpu_cuda", pci_address="0000:01:00.0"),
        Accelerator("GPU-bbbb", "gpu_cuda", pci_address="0000:02:00.0"),
    )
    word = Word(replace(FREE, devices=Choice(deny=frozenset({"0000:01:00.0"}))))
    async with node.agent(node.spec(), limits=word, devices=cards) as supervisor:
        await until_ready(supervisor)
    launched = node.home.launch()
    assert launched is not None
    assert launched.env["CUDA_VISIBLE_DEVICES"] == "GPU-bbbb"


async def test_t15_a_word_that_becomes_unreadable_as_an_engine_is_about_to_start_starts_nothing(
    node: LocalNode,
) -> None:
    await node.make_engine()
    words = iter([FREE])
    broken = replace(FREE, unreadable="line 1: colour is not known")
    async with node.agent(node.spec(), limits=lambda: next(words, broken)) as supervisor:
        status = await until(supervisor, lambda status: status.problem is not None)
        assert status.problem is not None
        assert (status.problem.reason, status.problem.metadata["rule"]) == ("LOCAL_POLICY_DENIED", "file")
        await until_state(supervisor, InstanceState.OFFLINE)
    assert node.starts == []


async def test_an_engine_is_held_to_what_a_runtime_may_have(node: LocalNode) -> None:
    await node.make_engine()
    word = Word(replace(FREE, memory_per_runtime_bytes=8 << 30))
    async with node.agent(node.spec(), limits=word) as supervisor:
        await until_ready(supervisor)
    launched = node.home.launch()
    assert launched is not None
    assert launched.sandbox.memory_bytes == 8 << 30


async def test_an_engine_that_may_use_no_device_is_not_started(node: LocalNode) -> None:
    await node.make_engine()
    word = Word(replace(FREE, devices=Choice(allow=frozenset({"gpu_rocm"}))))
    async with node.agent(node.spec(), limits=word, devices=(Accelerator("cpu", "cpu"),)) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
        assert status.problem is not None
        assert (status.problem.reason, status.problem.metadata["rule"]) == ("LOCAL_POLICY_DENIED", "devices")
    assert node.starts == []
