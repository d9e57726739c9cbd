"""A control plane with thousands of agents over mutual TLS: what they cost, and how fast a change reaches them."""

from __future__ import annotations

import asyncio
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from arw_client import Client, Context, connect
from arw_client import messages as m
from benchmarks.light_agents import LightAgent, enrol
from benchmarks.pair import Pair, pair
from benchmarks.row import Row
from wire import event_loop

SINGLE_CHANGES = 500
APPLIED_AT_ONCE = 1000
PAGES = 200
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


@dataclass(frozen=True, slots=True)
class Size:
    """How many agents, and the most that things may cost then."""

    agents: int
    connected_s: float
    cpu_percent: float
    applied_s: float
    changed_s: float


THOUSAND = Size(1_000, connected_s=15, cpu_percent=4, applied_s=2.5, changed_s=0.5)
# 20 % of a core at 10,000 agents whose period is twice as long.
TEN_THOUSAND = Size(10_000, connected_s=60, cpu_percent=20, applied_s=25, changed_s=2.5)


def rows() -> Iterator[Row]:
    return _rows(THOUSAND)


def ten_thousand() -> Iterator[Row]:
    """Takes some ten minutes and 4 GB."""
    return _rows(TEN_THOUSAND)


def _rows(size: Size) -> Iterator[Row]:
    with pair() as made:
        yield from event_loop.run(_measure(made, size))


async def _measure(made: Pair, size: Size) -> list[Row]:
    async with _control_plane(made) as pid:
        process = psutil.Process(pid)
        context = Context.load(made.state / "context.json")
        async with connect(context) as client:
            tokens = [await _token(client, number) for number in range(size.agents)]
            empty = process.memory_info().rss
            identities = await enrol(f"127.0.0.1:{made.ports['enrollment-port']}", context.ca_pem.encode(), tokens)
            agents = [LightAgent(identity) for identity in identities]
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(agent.run()) for agent in agents]
                found = [await _connected(agents, size)]
                found += await _idle(process, empty, size)
                found += await _lists(client, size)
                found += await _changes(client, agents, size)
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


async def _connected(agents: list[LightAgent], size: Size) -> Row:
    started = time.monotonic()
    await asyncio.gather(*(agent.welcomed.wait() for agent in agents))
    seconds = time.monotonic() - started
    name = f"{size.agents:,} agents connected at once over mutual TLS"
    return Row.value(name, "s", ours=seconds, at_most=size.connected_s)


async def _idle(process: psutil.Process, empty: int, size: Size) -> list[Row]:
    await asyncio.sleep(5)
    each = (process.memory_info().rss - empty) / size.agents / KIB
    before = sum(process.cpu_times()[:2])
    await asyncio.sleep(SECONDS)
    share = (sum(process.cpu_times()[:2]) - before) * 100 / SECONDS
    idle = f"control plane, CPU at {size.agents:,} idle agents"
    return [
        Row.value(f"control plane, memory per agent at {size.agents:,}", "KiB", ours=each, at_most=110),
        Row.value(idle, "% of a core", ours=share, at_most=size.cpu_percent),
    ]


async def _lists(client: Client, size: Size) -> list[Row]:
    """Pages from all over the list, and the whole of it."""
    starts = [""]
    started = time.monotonic()
    while token := (
        await client.nodes.list_nodes(m.ListNodesRequest(page_size=1000, page_token=starts[-1]))
    ).next_page_token:
        starts.append(token)
    whole = time.monotonic() - started
    pages = [await _page(client, starts[number % len(starts)]) for number in range(PAGES)]
    p99 = statistics.quantiles(pages, n=100)[98] * 1000
    return [
        Row.value(f"list of nodes at {size.agents:,}, a page of 100, p99 of {PAGES}", "ms", ours=p99, at_most=100),
        Row.value(f"list of nodes at {size.agents:,}, the whole", "s", ours=whole, at_most=1),
    ]


async def _page(client: Client, token: str) -> float:
    started = time.monotonic()
    await client.nodes.list_nodes(m.ListNodesRequest(page_size=100, page_token=token))
    return time.monotonic() - started


async def _changes(client: Client, agents: list[LightAgent], size: Size) -> list[Row]:
    model = m.Model(path="/light.gguf", sha256="0" * 64, size_bytes=1, format="gguf")
    await client.models.create_model(m.CreateModelRequest(model_id="light", model=model))
    slices = [range(first, first + APPLIED_AT_ONCE) for first in range(0, size.agents, APPLIED_AT_ONCE)]
    applied = sum([await _applied(client, agents, numbers, 0) for numbers in slices])
    changed = sum([await _applied(client, agents, numbers, 1) for numbers in slices])
    await asyncio.sleep(QUIET_SECONDS)
    single = [await _applied(client, agents, range(number, number + 1), 2) for number in range(SINGLE_CHANGES)]
    p99 = statistics.quantiles(single, n=100)[98] * 1000
    one = f"apply of one change -> stored by its node at {size.agents:,} agents"
    every = f"apply of {size.agents:,} runtimes, a thousand at a time -> stored by all"
    return [
        Row.value(f"{every}, new", "s", ours=applied, at_most=size.applied_s),
        Row.value(f"{every}, changed", "s", ours=changed, at_most=size.changed_s),
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
