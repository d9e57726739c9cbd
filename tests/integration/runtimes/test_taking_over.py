"""What a new agent says of engines that an earlier one left running, and when."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from node_agent.domain.spec import DesiredState
from node_agent.domain.status import InstanceState
from node_agent.runtimes import assembly
from node_agent.runtimes.adoption import held_elsewhere, rename_to
from node_agent.runtimes.process import start_ticks
from node_agent.runtimes.shutdown import stop_everything
from tests.fakes.instance_specs import NAME
from tests.fakes.local_node import TIMERS, LocalNode, engine_pid, until, until_gone, until_ready, until_state
from tests.fakes.patience import SLACK


async def test_adoption_is_over_when_an_engine_that_served_has_answered(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
    async with node.agent(node.spec()) as supervisor, asyncio.timeout(10 * SLACK):
        await supervisor.adopted()
        (status,) = supervisor.statuses()
    assert status.state is InstanceState.READY
    assert engine_pid(status) == pid


async def test_adoption_is_over_at_once_where_there_is_nothing(node: LocalNode) -> None:
    async with node.agent() as supervisor, asyncio.timeout(5 * SLACK):
        await supervisor.adopted()
        assert supervisor.statuses() == []


async def test_nothing_is_adopted_before_anything_is_desired(node: LocalNode) -> None:
    supervisor = assembly.supervisor(node.path, node.digests, TIMERS, assembly.adapters())
    task = asyncio.create_task(supervisor.run())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await supervisor.adopted()
    task.cancel()
    await asyncio.wait({task})


async def test_a_spared_engine_runs_on_until_it_is_spared_no_more(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
        assert supervisor.left_running() == set()
    async with node.agent() as supervisor:
        supervisor.desire((), {NAME})
        await supervisor.adopted()
        assert supervisor.left_running() == {NAME}
        assert start_ticks(pid) is not None
        supervisor.desire(())
        await until_gone(pid)


async def test_an_engine_of_a_directory_put_back_in_its_place_is_taken_over(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
    put_back(node.path / "instances")
    assert held_elsewhere(node.path / "instances") == []
    async with node.agent(node.spec()) as supervisor:
        assert engine_pid(await until_ready(supervisor)) == pid
        supervisor.desire(())
        await until_gone(pid)
    assert node.starts == [pid]


async def test_an_engine_younger_than_the_directory_put_back_in_its_place_is_replaced_never_doubled(
    node: LocalNode,
) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        await until_ready(supervisor)
        supervisor.desire([node.spec(desired_state=DesiredState.STOPPED)])
        await until_state(supervisor, InstanceState.OFFLINE)
        backup = shutil.copytree(node.path / "instances", node.path / "backup")
        supervisor.desire([node.spec()])
        younger = engine_pid(await until_ready(supervisor))
    shutil.rmtree(node.path / "instances")
    backup.rename(node.path / "instances")
    async with node.agent(node.spec()) as supervisor:
        assert engine_pid(await until_ready(supervisor)) != younger
        assert start_ticks(younger) is None


async def test_an_engine_that_a_copied_record_names_is_known_to_be_held_elsewhere(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
    copy = shutil.copytree(node.path / "instances", node.path / "copy")
    assert held_elsewhere(node.path / "instances") == []
    assert held_elsewhere(copy) == [pid]
    renamed = (node.path / "instances").rename(node.path / "renamed")
    assert held_elsewhere(renamed) == [], "a renamed directory holds what it held"
    await stop_everything(renamed, timedelta(seconds=1))
    assert held_elsewhere(copy) == []


async def test_what_an_earlier_identity_left_is_reported_and_ended_as_this_nodes(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
    node.history.clear()
    rename_to("other", node.path / "instances")
    async with node.agent():
        await until_gone(pid)
    assert {status.name for status in node.history} == {f"nodes/other/instances/{node.home.path.name}"}


def put_back(folder: Path) -> None:
    """From a backup made just now; the original is gone."""
    backup = shutil.copytree(folder, folder.with_name("backup"))
    shutil.rmtree(folder)
    backup.rename(folder)


async def test_a_spared_engine_that_is_wanted_again_is_taken_over(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
    async with node.agent() as supervisor:
        supervisor.desire((), {NAME})
        await supervisor.adopted()
        supervisor.desire([node.spec()])
        assert engine_pid(await until_ready(supervisor)) == pid
    assert node.starts == [pid]


async def test_a_spared_engine_shows_that_it_runs_and_when_it_ended(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
    async with node.agent() as supervisor:
        supervisor.desire((), {NAME})
        await supervisor.adopted()
        (status,) = supervisor.statuses()
        assert (status.state, engine_pid(status)) == (InstanceState.DEGRADED, pid)
        assert status.summary == "Runs on unwatched, for its spec is lost; its removal is held back"
        os.kill(pid, signal.SIGKILL)
        ended = await until_state(supervisor, InstanceState.OFFLINE)
        assert ended.summary == "Ended; its removal is held back"


async def test_an_instance_says_that_its_removal_is_held_back_for_as_long_as_it_is(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        await until_ready(supervisor)
        supervisor.desire([node.spec()], {NAME})
        await until(supervisor, lambda _: node.history[-1].summary == "Ready; its removal is held back")
        assert node.history[-1].state is InstanceState.READY
        supervisor.desire([node.spec()])
        await until(supervisor, lambda _: node.history[-1].summary == "Ready")
