"""A control plane with thousands of agents over mutual TLS: what they cost, and how fast a change reaches them.

What a heartbeat and a stream cost is said beside a server that does nothing else, in the same run: most of it is
gRPC's, and more on a slow day.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from arw.v1 import runtime_service_pb2 as runtime_pb
from arw_client import Client, Context, connect
from arw_client import messages as m
from benchmarks.identities import Identity, joined
from benchmarks.idle_agents import Cost, Size, bare, crowd, memory, progress
from benchmarks.light_agents import LightAgent
from benchmarks.pair import Pair, control_plane, pair
from benchmarks.row import Row
from control_plane.process.descriptors import raise_limit
from wire import event_loop
from wire.channel import secure_channel
from wire.log_lines import log_to_stderr

SINGLE_CHANGES = 500
APPLIED_AT_ONCE = 1000
PAGES = 200
QUIET_SECONDS = 3
"""After a change of all, whose acknowledgements are still taken in."""
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
class Fleet:
    """The most that things may cost with so many agents."""

    size: Size
    connected_s: float
    cpu_percent: float
    applied_s: float
    changed_s: float
    smaller: Size | None = None
    """With so few an agent may cost little less."""


THOUSAND = Fleet(
    Size(1_000, heartbeat_s=10, at_once=1_000),
    connected_s=15,
    cpu_percent=4,
    applied_s=2.5,
    changed_s=0.5,
)
# 20 % of a core at 10,000 agents whose period is twice as long.
TEN_THOUSAND = Fleet(
    Size(10_000, heartbeat_s=20, at_once=64),
    connected_s=60,
    cpu_percent=20,
    applied_s=25,
    changed_s=2.5,
    smaller=THOUSAND.size,
)


def rows() -> Iterator[Row]:
    return _rows(THOUSAND)


def ten_thousand() -> Iterator[Row]:
    """Takes some six minutes and 3 GB."""
    return _rows(TEN_THOUSAND)


def _rows(fleet: Fleet) -> Iterator[Row]:
    raise_limit()
    log_to_stderr(logging.WARNING)
    with pair() as made:
        yield from event_loop.run(_measure(made, fleet))


async def _measure(made: Pair, fleet: Fleet) -> list[Row]:
    made.state.mkdir(mode=0o700)
    async with control_plane(made) as process:
        empty = memory(process)
    identities: list[Identity] = []
    beside, costs = [], []
    for size in [fleet.smaller, fleet.size] if fleet.smaller else [fleet.size]:
        identities += await joined(made.state, range(len(identities), size.agents))
        progress(f"{size.agents:,} nodes joined; first they go to {BARE}, then to the control plane")
        beside.append(await bare(made.state / "control_plane", identities, size))
        async with control_plane(made) as process, crowd(process, empty, identities, size) as found:
            costs.append(found.cost)
            told = await _told(made, found.agents, fleet) if size is fleet.size else []
    return [_connected(found.connected_s, fleet), *_costs(costs, beside, fleet), *told]


async def _told(made: Pair, agents: Sequence[LightAgent], fleet: Fleet) -> list[Row]:
    context = Context.load(made.state / "context.json")
    async with connect(context) as client, _operator(context) as apply:
        return [*await _lists(client, fleet.size), *await _changes(client, apply, agents, fleet)]


def _connected(seconds: float, fleet: Fleet) -> Row:
    size = fleet.size
    how = "at once" if size.at_once >= size.agents else f"{size.at_once} at a time"
    name = f"{size.agents:,} agents connected {how} over mutual TLS"
    return Row.value(name, "s", ours=seconds, at_most=fleet.connected_s)


def _costs(ours: Sequence[Cost], beside: Sequence[Cost], fleet: Fleet) -> Iterator[Row]:
    cost, bare_cost, most = ours[-1], beside[-1], f"at {fleet.size.agents:,}"
    space, idle, beat = (f"control plane, {what} {most}" for what in ("memory per agent", "CPU", "CPU per heartbeat"))
    yield Row.value(space, "KiB", ours=cost.kib, at_most=110)
    yield Row.difference(space, "KiB", ours=cost.kib, beside=bare_cost.kib, baseline=BARE, at_most=25)
    yield Row.value(f"{idle} idle agents", "% of a core", ours=cost.percent, at_most=fleet.cpu_percent)
    yield Row.difference(beat, "ms", ours=cost.beat_ms, beside=bare_cost.beat_ms, baseline=BARE, at_most=0.15)
    if fleet.smaller is not None:
        fewer, less = f"the same at {fleet.smaller.agents:,}", ours[0]
        yield Row.growth(space, "KiB", ours=cost.kib, beside=less.kib, baseline=fewer, at_most=1.3)
        yield Row.growth(beat, "ms", ours=cost.beat_ms, beside=less.beat_ms, baseline=fewer, at_most=1.3)


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


async def _changes(client: Client, apply: Apply, agents: Sequence[LightAgent], fleet: Fleet) -> list[Row]:
    model = m.Model(path="/light.gguf", sha256="0" * 64, size_bytes=1, format="gguf")
    await client.models.create_model(m.CreateModelRequest(model_id="light", model=model))
    every = range(len(agents))
    slices = [every[first : first + APPLIED_AT_ONCE] for first in every[::APPLIED_AT_ONCE]]
    applied = sum([await _applied(apply, agents, numbers, 0) for numbers in slices])
    changed = sum([await _applied(apply, agents, numbers, 1) for numbers in slices])
    await asyncio.sleep(QUIET_SECONDS)
    single = [await _applied(apply, agents, range(number, number + 1), 2) for number in range(SINGLE_CHANGES)]
    p99 = statistics.quantiles(single, n=100)[98] * 1000
    one = f"apply of one change -> stored by its node at {len(agents):,} agents"
    all_of_them = f"apply of {len(agents):,} runtimes, a thousand at a time -> stored by all"
    return [
        Row.value(f"{all_of_them}, new", "s", ours=applied, at_most=fleet.applied_s),
        Row.value(f"{all_of_them}, changed", "s", ours=changed, at_most=fleet.changed_s),
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


async def _applied(apply: Apply, agents: Sequence[LightAgent], numbers: range, turn: int) -> float:
    """Seconds from the call to the last of these agents having stored its batch."""
    text = "version = 1\n" + "".join(RUNTIME.format(n=number, round=turn) for number in numbers)
    seen = {number: agents[number].batches for number in numbers}
    started = time.monotonic()
    toml = runtime_pb.MANIFEST_FORMAT_TOML
    await apply(runtime_pb.ApplyManifestRequest(content=text.encode(), format=toml, source="fleet.toml"))
    while any(agents[number].batches == before for number, before in seen.items()):  # noqa: ASYNC110 - the time is taken by the agent
        await asyncio.sleep(0.001)
    return max(agents[number].stored_at for number in numbers) - started
