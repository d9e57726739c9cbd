"""Claims: how many are taken and given up in a second, and how long one waits for its node's word.

The control plane is a process of its own. Its nodes are light: they take what they are told and say so.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import grpc

from arw.v1 import claim_pb2, claim_service_pb2
from arw.v1.claim_service_pb2_grpc import ClaimServiceStub
from arw_client import Client, Context, connect
from arw_client import messages as m
from benchmarks.identities import joined
from benchmarks.idle_agents import progress, welcomed
from benchmarks.light_agents import ServingAgent
from benchmarks.pair import Pair, control_plane, pair
from benchmarks.row import Row
from control_plane.process.descriptors import raise_limit
from wire import event_loop
from wire.channel import secure_channel
from wire.log_lines import log_to_stderr

SLOTS = 24
CONNECTED_AT_ONCE = 64
APPLIED_AT_ONCE = 1000
HELD_BY_A_PROJECT = 800
BUSY, CALM = 64, 16
"""Claims that are in work at once."""
MEASURED_SECONDS = 10
RUNTIME = """
[[runtimes]]
id = "r{n}"
adapter = "llama.cpp"
model = "light"
auto_start = true
node_selector = {{ n = "{n}" }}
settings = {{ slots = {slots} }}
"""


@dataclass(frozen=True, slots=True)
class Stock:
    nodes: int
    live: int
    """Claims that are held all the while."""


FEW = Stock(100, 100)
MANY = Stock(1_000, 10_000)


@dataclass(frozen=True, slots=True)
class Speed:
    pair_ms: float
    """Of the time that passes, for one claim that is taken and given up, with `BUSY` in work."""
    granted_p99_ms: float
    """From asking to being granted, with `CALM` in work."""


def rows() -> Iterator[Row]:
    (speed,) = _measured(FEW)
    at = f"at {FEW.live} live claims on {FEW.nodes} nodes"
    yield Row.value(f"a claim taken and given up, {BUSY} at once, {at}", "ms", ours=speed.pair_ms, at_most=2.5)
    yield Row.value(f"claim -> granted, p99, {CALM} at once, {at}", "ms", ours=speed.granted_p99_ms, at_most=40)


def ten_thousand() -> Iterator[Row]:
    """Takes some minutes, most of them to have so many claims."""
    few, many = _measured(Stock(MANY.nodes, FEW.live), MANY)
    at = f"at {MANY.live:,} live claims on {MANY.nodes:,} nodes"
    for what, ours, beside in (
        (f"a claim taken and given up, {BUSY} at once", many.pair_ms, few.pair_ms),
        (f"claim -> granted, p99, {CALM} at once", many.granted_p99_ms, few.granted_p99_ms),
    ):
        yield Row.growth(f"{what}, {at}", "ms", ours=ours, beside=beside, baseline=f"at {FEW.live}", at_most=1.3)


def _measured(*stocks: Stock) -> list[Speed]:
    """Of one control plane after another amount of claims."""
    raise_limit()
    log_to_stderr(logging.WARNING)
    with pair() as made:
        return event_loop.run(_measure(made, stocks))


async def _measure(made: Pair, stocks: tuple[Stock, ...]) -> list[Speed]:
    made.state.mkdir(mode=0o700)
    async with control_plane(made):
        pass
    nodes = stocks[0].nodes
    identities = await joined(made.state, range(nodes))
    agents = [ServingAgent(identity) for identity in identities]
    async with control_plane(made), welcomed(agents, CONNECTED_AT_ONCE):
        context = Context.load(made.state / "context.json")
        async with connect(context) as client, _claims(context) as stubs:
            await _declared(client, nodes)
            return [await _speed(client, Claimants(stubs, nodes), stock) for stock in stocks]


async def _speed(client: Client, claimants: Claimants, stock: Stock) -> Speed:
    await claimants.hold(client, stock.live)
    progress(f"{stock.live:,} claims are held")
    await claimants.busy(CALM, MEASURED_SECONDS / 5)
    _, calm = await claimants.busy(CALM, MEASURED_SECONDS)
    taken, _ = await claimants.busy(BUSY, MEASURED_SECONDS)
    found = Speed(MEASURED_SECONDS / taken * 1000, statistics.quantiles(calm, n=100)[98] * 1000)
    progress(f"{found}")
    return found


class Claimants:
    """Programs that claim slots all over the nodes."""

    def __init__(self, stubs: Sequence[Any], nodes: int) -> None:
        self._stubs = stubs
        self._nodes = nodes
        self._next = count()
        self._held = 0

    async def hold(self, client: Client, live: int) -> None:
        """Until so many are held, by as many projects as that takes."""
        while self._held < live:
            project = await client.projects.create_project(m.CreateProjectRequest(project_id=f"p{self._held}"))
            many = min(HELD_BY_A_PROJECT, live - self._held)
            name = project.project.name if project.project else ""
            door = asyncio.Semaphore(BUSY)
            await asyncio.gather(*(self._held_by(name, door) for _ in range(many)))
            self._held += many

    async def busy(self, at_once: int, seconds: float) -> tuple[int, list[float]]:
        """How many were taken and given up, and the seconds that each waited to be granted."""
        waited: list[float] = []
        ends = time.monotonic() + seconds

        async def works(stub: Any) -> None:
            while time.monotonic() < ends:
                started = time.monotonic()
                claim = await self._granted(stub, "")
                waited.append(time.monotonic() - started)
                await stub.ReleaseClaim(claim_service_pb2.ReleaseClaimRequest(name=claim.name))

        await asyncio.gather(*(works(self._stubs[n % len(self._stubs)]) for n in range(at_once)))
        return len(waited), waited

    async def _held_by(self, project: str, door: asyncio.Semaphore) -> None:
        async with door:
            await self._granted(self._stubs[next(self._next) % len(self._stubs)], project)

    async def _granted(self, stub: Any, project: str) -> claim_pb2.Claim:
        order = claim_pb2.RuntimeClaim(model_tag=f"r{next(self._next) % self._nodes}")
        order.ttl.FromSeconds(3600)
        wanted = claim_service_pb2.AcquireClaimRequest(project=project, claim=order, wait=True)
        async for answer in stub.AcquireClaim(wanted):
            claim: claim_pb2.Claim = answer.claim
        if claim.state != claim_pb2.CLAIM_STATE_GRANTED:
            raise RuntimeError(f"not granted: {claim}")
        return claim


async def _declared(client: Client, nodes: int) -> None:
    """A runtime for each node, each of which serves."""
    model = m.Model(path="/light.gguf", sha256="0" * 64, size_bytes=1, format="gguf")
    await client.models.create_model(m.CreateModelRequest(model_id="light", model=model))
    for first in range(0, nodes, APPLIED_AT_ONCE):
        numbers = range(first, min(nodes, first + APPLIED_AT_ONCE))
        text = "version = 1\n" + "".join(RUNTIME.format(n=number, slots=SLOTS) for number in numbers)
        wanted = m.ApplyManifestRequest(content=text.encode(), format=m.ManifestFormat.TOML, source="claims.toml")
        await client.runtimes.apply_manifest(wanted)


@asynccontextmanager
async def _claims(context: Context) -> AsyncIterator[list[Any]]:
    """With grpc's own client: the other one would take the time that is measured. A connection has 64 calls at most."""
    pems = [pem.encode() for pem in (context.ca_pem, context.key_pem, context.certificate_pem)]
    async with AsyncExitStack() as stack:
        channels = [secure_channel(context.grpc_address, grpc.ssl_channel_credentials(*pems)) for _ in range(4)]
        yield [ClaimServiceStub(await stack.enter_async_context(channel)) for channel in channels]
