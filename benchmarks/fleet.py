"""A control plane with a thousand agents over mutual TLS: what they cost, and how fast a change reaches them."""

from __future__ import annotations

import asyncio
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from arw_client import Client, Context, connect
from arw_client import messages as m
from benchmarks.light_agents import LightAgent, enrol
from benchmarks.pair import Pair, pair
from benchmarks.row import Row
from wire import event_loop

AGENTS = 1000
SINGLE_CHANGES = 500
QUIET_SECONDS = 3
"""After a change of all, whose acknowledgements are still taken in."""
SECONDS = 30
KIB = 1024
RUNTIME = """
[[runtimes]]
id = "r{n}"
adapter = "llama.cpp"
model = "light"
auto_start = true
tags = {{ round = "{round}" }}
node_selector = {{ n = "{n}" }}
"""


def rows() -> Iterator[Row]:
    with pair() as made:
        yield from event_loop.run(_measure(made))


async def _measure(made: Pair) -> list[Row]:
    async with _control_plane(made) as pid:
        process = psutil.Process(pid)
        context = Context.load(made.state / "context.json")
        async with connect(context) as client:
            tokens = [await _token(client, number) for number in range(AGENTS)]
            empty = process.memory_info().rss
            identities = await enrol(f"127.0.0.1:{made.ports['enrollment-port']}", context.ca_pem.encode(), tokens)
            agents = [LightAgent(identity) for identity in identities]
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(agent.run()) for agent in agents]
                found = [await _connected(agents)]
                found += await _idle(process, empty)
                found += await _changes(client, agents)
                await asyncio.gather(*(agent.leave() for agent in agents))
                for task in running:
                    task.cancel()
            return found


@asynccontextmanager
async def _control_plane(made: Pair) -> AsyncIterator[int]:
    """Only the control plane of a pair; gives its pid."""
    made.state.mkdir(mode=0o700)
    program = Path(sys.executable).with_name("arw-control-plane")
    context = made.state / "context.json"
    options = ["--state-dir", str(made.state), "--context-file", str(context), *made.port_options]
    with (made.folder / "control-plane.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(program, "run", *options, stdout=log, stderr=log)
    try:
        while process.returncode is None and not (made.state / "control_plane" / "run.json").exists():  # noqa: ASYNC110 - a file is no event
            await asyncio.sleep(0.05)
        yield process.pid
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()
        else:
            print((made.folder / "control-plane.log").read_text()[-2000:], file=sys.stderr)


async def _token(client: Client, number: int) -> str:
    wanted = m.CreateJoinTokenRequest(node_id=f"n{number}", labels={"n": str(number)})
    return (await client.nodes.create_join_token(wanted)).secret_text


async def _connected(agents: list[LightAgent]) -> Row:
    started = time.monotonic()
    await asyncio.gather(*(agent.welcomed.wait() for agent in agents))
    seconds = time.monotonic() - started
    return Row.value(f"{AGENTS} agents connected at once over mutual TLS", "s", ours=seconds, at_most=15)


async def _idle(process: psutil.Process, empty: int) -> list[Row]:
    await asyncio.sleep(5)
    each = (process.memory_info().rss - empty) / AGENTS / KIB
    before = sum(process.cpu_times()[:2])
    await asyncio.sleep(SECONDS)
    share = (sum(process.cpu_times()[:2]) - before) * 100 / SECONDS
    return [
        Row.value(f"control plane, memory per agent at {AGENTS}", "KiB", ours=each, at_most=110),
        # 20 % of a core at 10,000 agents whose period is twice as long: 4 % at 1,000 with this one.
        Row.value(f"control plane, CPU at {AGENTS} idle agents", "% of a core", ours=share, at_most=4),
    ]


async def _changes(client: Client, agents: list[LightAgent]) -> list[Row]:
    model = m.Model(path="/light.gguf", sha256="0" * 64, size_bytes=1, format="gguf")
    await client.models.create_model(m.CreateModelRequest(model_id="light", model=model))
    everyone = await _applied(client, agents, range(AGENTS), 0)
    await asyncio.sleep(QUIET_SECONDS)
    single = [await _applied(client, agents, range(number, number + 1), 1) for number in range(SINGLE_CHANGES)]
    p99 = statistics.quantiles(single, n=100)[98] * 1000
    one = f"apply of one change -> stored by its node at {AGENTS} agents"
    return [
        Row.value(f"apply of {AGENTS} runtimes -> stored by all {AGENTS}", "s", ours=everyone, at_most=2.5),
        Row.value(f"{one}, p99 of {SINGLE_CHANGES}", "ms", ours=p99, at_most=25),
        Row.value(f"{one}, the longest", "ms", ours=max(single) * 1000, at_most=150),
    ]


async def _applied(client: Client, agents: list[LightAgent], numbers: range, turn: int) -> float:
    """Seconds from the call to the last of these agents having stored its batch."""
    text = "version = 1\n" + "".join(RUNTIME.format(n=number, round=turn) for number in numbers)
    seen = {number: agents[number].batches for number in numbers}
    started = time.monotonic()
    wanted = m.ApplyManifestRequest(content=text.encode(), format=m.ManifestFormat.TOML, source="fleet.toml")
    await client.runtimes.apply_manifest(wanted, timeout=60)
    while any(agents[number].batches == before for number, before in seen.items()):  # noqa: ASYNC110 - the time is taken by the agent
        await asyncio.sleep(0.001)
    return max(agents[number].stored_at for number in numbers) - started
