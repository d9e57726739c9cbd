"""A control plane with thousands of agents over mutual TLS: what they cost, and how fast a change reaches them.

What a heartbeat and a stream cost is said beside a server that does nothing else, in the same run: most of it is
gRPC's, and more on a slow day.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import psutil

from arw.v1 import runtime_service_pb2 as runtime_pb
from arw_client import Client, Context, connect
from arw_client import messages as m
from benchmarks.light_agents import Identity, LightAgent, enrol
from benchmarks.pair import Pair, pair
from benchmarks.row import Row
from wire import event_loop
from wire.channel import secure_channel

SINGLE_CHANGES = 500
APPLIED_AT_ONCE = 1000
PAGES = 200
QUIET_SECONDS = 3
"""After a change of all, whose acknowledgements are still taken in."""
SECONDS = 30
SETTLED_SECONDS = 5
"""After the last agent connected."""
KIB = 1024
BARE = "a bare grpc.aio server"
Apply = Callable[[runtime_pb.ApplyManifestRequest], Awaitable[bytes]]
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
    heartbeat_s: float
    connected_s: float
    cpu_percent: float
    applied_s: float
    changed_s: float


THOUSAND = Size(1_000, heartbeat_s=10, connected_s=15, cpu_percent=4, applied_s=2.5, changed_s=0.5)
# 20 % of a core at 10,000 agents whose period is twice as long.
TEN_THOUSAND = Size(10_000, heartbeat_s=20, connected_s=60, cpu_percent=20, applied_s=25, changed_s=2.5)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of idle agents at a server."""

    percent: float
    """Of a core."""
    beat_ms: float
    """CPU of a heartbeat, with everything that goes on beside it."""
    kib: float
    """Of memory, each."""


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
            bare = await _bare(made, identities, size)
            agents = [LightAgent(identity) for identity in identities]
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(agent.run()) for agent in agents]
                found = [await _connected(agents, size)]
                found += _costs(await _cost(process, empty, agents), bare, size)
                found += await _lists(client, size)
                async with _operator(context) as apply:
                    found += await _changes(client, apply, agents, size)
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


async def _bare(made: Pair, identities: Sequence[Identity], size: Size) -> Cost:
    """What the same agents cost a server that does nothing behind their streams."""
    program = ["-m", "benchmarks.bare_streams", str(made.state / "control_plane"), str(size.heartbeat_s)]
    server = await asyncio.create_subprocess_exec(sys.executable, *program, stdout=asyncio.subprocess.PIPE)
    try:
        port = await server.stdout.readline() if server.stdout is not None else b""
        address = f"127.0.0.1:{int(port)}"
        process = psutil.Process(server.pid)
        empty = process.memory_info().rss
        agents = [LightAgent(replace(identity, address=address)) for identity in identities]
        running = [asyncio.create_task(agent.run()) for agent in agents]
        await asyncio.gather(*(agent.welcomed.wait() for agent in agents))
        found = await _cost(process, empty, agents)
        for task in running:
            task.cancel()
        await asyncio.wait(running)
    finally:
        server.terminate()
        await server.wait()
    return found


async def _cost(process: psutil.Process, empty: int, agents: Sequence[LightAgent]) -> Cost:
    """`empty`: the server's memory without agents. They are connected."""
    await asyncio.sleep(SETTLED_SECONDS)
    each = (process.memory_info().rss - empty) / len(agents) / KIB
    spent, beats = sum(process.cpu_times()[:2]), sum(agent.beats for agent in agents)
    await asyncio.sleep(SECONDS)
    spent = sum(process.cpu_times()[:2]) - spent
    beats = sum(agent.beats for agent in agents) - beats
    return Cost(spent * 100 / SECONDS, spent * 1000 / beats, each)


def _costs(ours: Cost, bare: Cost, size: Size) -> list[Row]:
    memory = f"control plane, memory per agent at {size.agents:,}"
    idle = f"control plane, CPU at {size.agents:,} idle agents"
    beat = f"control plane, CPU per heartbeat at {size.agents:,}"
    return [
        Row.value(memory, "KiB", ours=ours.kib, at_most=110),
        Row.difference(memory, "KiB", ours=ours.kib, beside=bare.kib, baseline=BARE, at_most=25),
        Row.value(idle, "% of a core", ours=ours.percent, at_most=size.cpu_percent),
        Row.difference(beat, "ms", ours=ours.beat_ms, beside=bare.beat_ms, baseline=BARE, at_most=0.15),
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


async def _changes(client: Client, apply: Apply, agents: list[LightAgent], size: Size) -> list[Row]:
    model = m.Model(path="/light.gguf", sha256="0" * 64, size_bytes=1, format="gguf")
    await client.models.create_model(m.CreateModelRequest(model_id="light", model=model))
    every = range(size.agents)
    slices = [every[first : first + APPLIED_AT_ONCE] for first in every[::APPLIED_AT_ONCE]]
    applied = sum([await _applied(apply, agents, numbers, 0) for numbers in slices])
    changed = sum([await _applied(apply, agents, numbers, 1) for numbers in slices])
    await asyncio.sleep(QUIET_SECONDS)
    single = [await _applied(apply, agents, range(number, number + 1), 2) for number in range(SINGLE_CHANGES)]
    p99 = statistics.quantiles(single, n=100)[98] * 1000
    one = f"apply of one change -> stored by its node at {size.agents:,} agents"
    all_of_them = f"apply of {size.agents:,} runtimes, a thousand at a time -> stored by all"
    return [
        Row.value(f"{all_of_them}, new", "s", ours=applied, at_most=size.applied_s),
        Row.value(f"{all_of_them}, changed", "s", ours=changed, at_most=size.changed_s),
        Row.value(f"{one}, p99 of {SINGLE_CHANGES}", "ms", ours=p99, at_most=25),
        Row.value(f"{one}, the longest", "ms", ours=max(single) * 1000, at_most=150),
    ]


@asynccontextmanager
async def _operator(context: Context) -> AsyncIterator[Apply]:
    """Leaves the answers unread: to make them out would take time from the agents, which share this loop."""
    pems = (pem.encode() for pem in (context.ca_pem, context.key_pem, context.certificate_pem))
    async with secure_channel(context.grpc_address, grpc.ssl_channel_credentials(*pems)) as channel:
        yield channel.unary_unary(
            "/arw.v1.RuntimeService/ApplyManifest",
            request_serializer=runtime_pb.ApplyManifestRequest.SerializeToString,
        )


async def _applied(apply: Apply, agents: list[LightAgent], numbers: range, turn: int) -> float:
    """Seconds from the call to the last of these agents having stored its batch."""
    text = "version = 1\n" + "".join(RUNTIME.format(n=number, round=turn) for number in numbers)
    seen = {number: agents[number].batches for number in numbers}
    started = time.monotonic()
    toml = runtime_pb.MANIFEST_FORMAT_TOML
    await apply(runtime_pb.ApplyManifestRequest(content=text.encode(), format=toml, source="fleet.toml"))
    while any(agents[number].batches == before for number, before in seen.items()):  # noqa: ASYNC110 - the time is taken by the agent
        await asyncio.sleep(0.001)
    return max(agents[number].stored_at for number in numbers) - started
