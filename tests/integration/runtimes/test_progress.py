"""An engine that takes requests and gives nothing back, seen through the real relay."""

import asyncio
import os
import signal
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from node_agent.domain.status import InstanceState, InstanceStatus
from node_agent.relay.link import RelayLink
from node_agent.runtimes.supervisor import LocalSupervisor
from tests.fakes.data_path import Replica
from tests.fakes.instance_specs import NAME
from tests.fakes.local_node import TIMERS, LocalNode, engine_pid, until, until_ready, until_state

QUICK = replace(
    TIMERS,
    probe_misses=1000,
    first_byte=timedelta(seconds=1.5),
    between_bytes=timedelta(seconds=1),
)
REQUEST = (
    f"POST /v1/chat/completions HTTP/1.1\r\nhost: relay\r\nx-arw-instance: {NAME}\r\n"
    "x-arw-claim: system\r\nx-arw-fence: 1\r\ncontent-length: 2\r\n\r\n{}"
).encode()


def no_tls() -> ssl.SSLContext:
    raise AssertionError("a Unix socket needs no TLS")


@asynccontextmanager
async def asked(supervisor: LocalSupervisor) -> AsyncIterator[asyncio.StreamReader]:
    """A request in the engine's hands; what comes back can be read."""
    parked: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    link = RelayLink(supervisor, "n", no_tls)
    supervisor.before_stop(link.close_instance)
    supervisor.ask_for_traffic(link.traffic)
    with tempfile.TemporaryDirectory(prefix="arw-") as folder:
        path = str(Path(folder) / "relay.sock")
        server = await asyncio.start_unix_server(lambda *ends: parked.put_nowait(ends), path)
        link.configure(1, [Replica("", path)], 1)
        task = asyncio.create_task(link.run())
        reader, writer = await parked.get()
        await reader.readline()
        writer.write(REQUEST)
        try:
            yield reader
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            server.close()
            while not parked.empty():
                parked.get_nowait()[1].transport.abort()
            writer.transport.abort()
            await server.wait_closed()


def second(status: InstanceStatus) -> bool:
    return status.state is InstanceState.READY and status.incarnation == 2


def problems(node: LocalNode, state: InstanceState) -> list[str]:
    return [one.problem.reason for one in node.history if one.state is state and one.problem is not None]


async def test_an_engine_that_takes_a_request_and_emits_nothing_is_degraded_then_evicted_with_evidence(
    node: LocalNode,
) -> None:
    await node.make_engine(mute=True, slots="still", say=["the last words"])
    async with node.agent(node.spec(), timers=QUICK) as supervisor:
        await until_ready(supervisor)
        async with asked(supervisor) as answer:
            slow = await until_state(supervisor, InstanceState.DEGRADED)
            assert slow.problem is not None
            assert slow.problem.text == "It takes requests and emits nothing for 0.75 s."
            evicted = await until_state(supervisor, InstanceState.RESTARTING)
            assert evicted.problem is not None
            assert evicted.problem.reason == "NO_PROGRESS"
            assert evicted.problem.metadata["requests"] == "1"
            assert float(evicted.problem.metadata["oldest_request_s"]) >= 1.5
            assert "last_byte_s_ago" not in evicted.problem.metadata
            assert evicted.problem.metadata["log"] == "the last words"
            assert b"503" in await answer.readline()
        restarted = await until(supervisor, second)
    assert restarted.budget is not None
    assert restarted.budget.used == 1
    assert restarted.last_exit is not None
    assert restarted.last_exit.log_tail == ("the last words",)


async def test_a_stopped_process_with_a_request_in_hand_is_evicted_for_want_of_progress(node: LocalNode) -> None:
    await node.make_engine(mute=True, slots="moving")
    async with node.agent(node.spec(), timers=QUICK) as supervisor:
        first = await until_ready(supervisor)
        async with asked(supervisor):
            os.kill(engine_pid(first), signal.SIGSTOP)
            await until(supervisor, second)
    assert "NO_PROGRESS" in problems(node, InstanceState.RESTARTING)


async def test_an_answer_that_stops_in_its_middle_counts_from_its_last_byte(node: LocalNode) -> None:
    await node.make_engine(mute=True, words=3)
    async with node.agent(node.spec(), timers=replace(QUICK, first_byte=timedelta(minutes=5))) as supervisor:
        await until_ready(supervisor)
        async with asked(supervisor) as answer:
            assert b"200" in await answer.readline()
            evicted = await until_state(supervisor, InstanceState.RESTARTING)
            await until(supervisor, second)
    assert evicted.problem is not None
    assert float(evicted.problem.metadata["last_byte_s_ago"]) >= 1


async def test_a_long_prompt_that_is_being_read_is_left_alone(node: LocalNode) -> None:
    await node.make_engine(mute=True, slots="moving")
    async with node.agent(node.spec(), timers=QUICK) as supervisor:
        await until_ready(supervisor)
        async with asked(supervisor):
            await asyncio.sleep(2 * QUICK.first_byte.total_seconds())
            (status,) = supervisor.statuses()
    assert (status.state, status.incarnation) == (InstanceState.READY, 1)
    assert not problems(node, InstanceState.DEGRADED)


async def test_an_engine_that_nobody_asks_may_be_silent_for_ever(node: LocalNode) -> None:
    await node.make_engine(mute=True, slots="still")
    async with node.agent(node.spec(), timers=QUICK) as supervisor:
        await until_ready(supervisor)
        await asyncio.sleep(2 * QUICK.first_byte.total_seconds())
        (status,) = supervisor.statuses()
    assert (status.state, status.incarnation) == (InstanceState.READY, 1)
