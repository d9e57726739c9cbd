"""Three replicas on one PostgreSQL with two hundred agents; one replica is killed every few seconds for a minute."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from arw_client import ArwError, Client, Context, connect
from arw_client import messages as m
from arwctl.local.ports import free_ports
from benchmarks.identities import enrol
from benchmarks.light_agents import LightAgent, ServingAgent
from benchmarks.row import Row, median
from tests.fakes.postgres import postgres_server
from wire import event_loop

REPLICAS = 3
AGENTS = 200
WRITERS = 4
CLAIMS = 100
QUIET_SECONDS = 15
STORM_SECONDS = 60
KILL_EVERY = 5.0
AWAY_SECONDS = 1.0
CALL_SECONDS = 5
SETTLE_SECONDS = 30
RUNTIME = """
version = 1
[[runtimes]]
id = "r{n}"
adapter = "llama.cpp"
model = "light"
auto_start = true
tags = {{ round = "{round}" }}
node_selector = {{ n = "{n}" }}
"""


@dataclass(slots=True)
class Replica:
    """One control-plane process, killed and started again in its own state directory."""

    folder: Path
    database: str
    secret: Path
    ports: dict[str, int | str] = field(default_factory=lambda: dict(free_ports()))
    process: asyncio.subprocess.Process | None = None

    @property
    def context(self) -> Path:
        return self.folder / "context.json"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports['grpc-port']}"

    async def start(self) -> None:
        run_file = self.folder / "control_plane" / "run.json"
        run_file.unlink(missing_ok=True)
        program = Path(sys.executable).with_name("arw-control-plane")
        options = ["--state-dir", str(self.folder), "--context-file", str(self.context), "--database", self.database]
        options += ["--authority-secret-file", str(self.secret)]
        options += [word for name, port in self.ports.items() for word in (f"--{name}", str(port))]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(program, "run", *options, stdout=log, stderr=log)
        while not run_file.exists():
            if self.process.returncode is not None:
                raise RuntimeError((self.folder.parent / f"{self.folder.name}.log").read_text()[-2000:])
            await asyncio.sleep(0.05)

    async def end(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)
            await self.process.wait()


@dataclass(slots=True)
class Log:
    """What operators were promised."""

    acknowledged: dict[int, int] = field(default_factory=dict)
    """The last round of each runtime whose change was acknowledged."""
    seconds: list[float] = field(default_factory=list)
    """From the first try of a change to its acknowledgement, at whichever replica."""


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="arw-replicas-") as folder, _database() as database:
        yield from event_loop.run(_measure(Path(folder), database))


@contextmanager
def _database() -> Iterator[str]:
    with postgres_server() as server:
        yield server.emptied()


async def _measure(folder: Path, database: str) -> list[Row]:
    async with _started(folder, database) as replicas, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(Context.load(each.context))) for each in replicas]
        agents = await _enrolled(replicas[0], clients[0])
        model = m.Model(path="/light.gguf", sha256="0" * 64, size_bytes=1, format="gguf")
        await clients[0].models.create_model(m.CreateModelRequest(model_id="light", model=model))
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(agent.run()) for agent in agents]
            await asyncio.gather(*(agent.welcomed.wait() for agent in agents))
            log = Log()
            await _write(clients, log, range(AGENTS), 0)
            quiet, stormy = Log(), Log()
            await _written(clients, quiet, _pause(QUIET_SECONDS), first=1)
            back: list[float] = []
            claims = await _claimed(clients)
            await _written(clients, stormy, _storm(replicas, agents, back), first=1_000_000)
            losses = [*await _losses(clients, agents, stormy), await _claims_lost(clients, claims)]
            found = [*_speeds(quiet, stormy), *losses, *_returns(back)]
            for task in running:
                task.cancel()
        return found


@asynccontextmanager
async def _started(folder: Path, database: str) -> AsyncIterator[list[Replica]]:
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_urlsafe(48))
    replicas = [Replica(folder / f"replica-{number}", database, secret) for number in range(1, REPLICAS + 1)]
    try:
        for replica in replicas:
            replica.folder.mkdir(mode=0o700)
            await replica.start()
        yield replicas
    finally:
        for replica in replicas:
            await replica.end(signal.SIGTERM)


async def _enrolled(replica: Replica, client: Client) -> list[LightAgent]:
    wanted = [m.CreateJoinTokenRequest(node_id=f"n{n}", labels={"n": str(n)}) for n in range(AGENTS)]
    tokens = [(await client.nodes.create_join_token(each)).secret_text for each in wanted]
    ca = json.loads(replica.context.read_bytes())["ca_pem"].encode()
    identities = await enrol(f"127.0.0.1:{replica.ports['enrollment-port']}", ca, tokens)
    return [ServingAgent(identity) for identity in identities]


async def _pause(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def _storm(replicas: Sequence[Replica], agents: Sequence[LightAgent], back: list[float]) -> None:
    """Kill one after another; `back`: how long each agent of a killed one was without a stream."""
    chance = random.Random(7)  # noqa: S311 - the same storm every time
    ends = time.monotonic() + STORM_SECONDS
    while time.monotonic() < ends:
        victim = chance.choice(replicas)
        await victim.end(signal.SIGKILL)
        killed_at = time.monotonic()
        cut = [agent for agent in agents if agent.address == victim.address]
        await asyncio.sleep(AWAY_SECONDS)
        await victim.start()
        async with asyncio.timeout(SETTLE_SECONDS):
            while any(agent.connected_at < killed_at for agent in cut):  # noqa: ASYNC110 - the time is taken by the agent
                await asyncio.sleep(0.05)
        back += [agent.connected_at - killed_at for agent in cut]
        await asyncio.sleep(max(0.0, KILL_EVERY - (time.monotonic() - killed_at)))


async def _written(clients: Sequence[Client], log: Log, meanwhile: Awaitable[None], *, first: int) -> None:
    """Change runtimes at all replicas for as long as `meanwhile` lasts."""
    async with asyncio.TaskGroup() as tasks:
        numbers = [range(writer, AGENTS, WRITERS) for writer in range(WRITERS)]
        over = asyncio.Event()
        for mine in numbers:
            tasks.create_task(_keep_writing(clients, log, mine, first, over))
        await meanwhile
        # Nobody is cut off in the middle of a call: what it would still change is known to nobody.
        over.set()


async def _keep_writing(clients: Sequence[Client], log: Log, numbers: range, first: int, over: asyncio.Event) -> None:
    for turn in count(first):
        for number in numbers:
            if over.is_set():
                return
            await _write(clients, log, (number,), turn)


async def _write(clients: Sequence[Client], log: Log, numbers: Iterable[int], turn: int) -> None:
    for number in numbers:
        started = time.monotonic()
        await _acknowledged(clients, RUNTIME.format(n=number, round=turn).encode())
        log.acknowledged[number] = turn
        log.seconds.append(time.monotonic() - started)


async def _acknowledged(clients: Sequence[Client], content: bytes) -> None:
    """At any replica, as often as it takes."""
    wanted = m.ApplyManifestRequest(content=content, format=m.ManifestFormat.TOML, source="replicas.toml")
    while True:
        client = random.choice(clients)  # noqa: S311 - as above
        try:
            await client.runtimes.apply_manifest(wanted, timeout=CALL_SECONDS)
        except ArwError:
            await asyncio.sleep(0.05)
        else:
            return


def _speeds(quiet: Log, stormy: Log) -> list[Row]:
    ours = len(stormy.seconds) / STORM_SECONDS
    beside = len(quiet.seconds) / QUIET_SECONDS
    return [
        Row.ratio(
            f"changes acknowledged by {REPLICAS} replicas while one is killed every {KILL_EVERY:g} s",
            "a second",
            ours=ours,
            beside=beside,
            baseline="the same, nobody killed",
            at_least=0.5,
        )
    ]


async def _losses(clients: Sequence[Client], agents: Sequence[LightAgent], log: Log) -> list[Row]:
    """Once the storm is over: what is stored everywhere, and what the agents were told."""
    await _settled(clients, agents)
    lost = 0
    for client in clients:
        answer = await client.runtimes.list_runtimes(m.ListRuntimesRequest(page_size=1000))
        stored = {runtime.name: int(runtime.spec.tags["round"]) for runtime in answer.runtimes if runtime.spec}
        lost += sum(stored.get(f"runtimes/r{n}", -1) < promised for n, promised in log.acknowledged.items())
    disturbed = sum(agent.removed + agent.went_back for agent in agents)
    return [
        Row.value("acknowledged changes lost", "changes", ours=lost, at_most=0),
        Row.value("instances removed or taken back by it", "instances", ours=disturbed, at_most=0),
    ]


async def _claimed(clients: Sequence[Client]) -> list[m.Claim]:
    """One on each of the first runtimes, taken at all replicas."""
    return [await _granted(clients[n % len(clients)], f"r{n}") for n in range(CLAIMS)]


async def _granted(client: Client, runtime: str) -> m.Claim:
    request = m.AcquireClaimRequest(claim=m.RuntimeClaim(model_tag=runtime), wait=True)
    claim = m.Claim()
    async for answer in client.claims.acquire_claim(request):
        claim = answer.claim or claim
    if claim.state is not m.ClaimState.GRANTED:
        raise RuntimeError(f"not granted: {claim}")
    return claim


async def _claims_lost(clients: Sequence[Client], claims: Sequence[m.Claim]) -> Row:
    """Those that some replica knows as anything else than granted by the hold that they had."""
    kept = 0
    for n, before in enumerate(claims):
        now = (await clients[n % len(clients)].claims.get_claim(m.GetClaimRequest(name=before.name))).claim
        kept += now is not None and (now.state, now.hold) == (before.state, before.hold)
    return Row.value(f"of {CLAIMS} claims lost by it", "claims", ours=len(claims) - kept, at_most=0)


async def _settled(clients: Sequence[Client], agents: Sequence[LightAgent]) -> None:
    """Until every agent has stored the newest desired state. RuntimeError names those that do not get there."""
    ends = time.monotonic() + SETTLE_SECONDS
    answer = await clients[0].runtimes.list_runtimes(m.ListRuntimesRequest(page_size=1000))
    wanted = {runtime.name.removeprefix("runtimes/"): runtime.generation for runtime in answer.runtimes}
    while behind := [a for n, a in enumerate(agents) if a.generations() != {f"r{n}": wanted[f"r{n}"]}]:
        if time.monotonic() > ends:
            raise RuntimeError("\n".join(f"{agent.address} {agent.generations()}" for agent in behind))
        await asyncio.sleep(0.1)


def _returns(back: Sequence[float]) -> list[Row]:
    cut = max(len(back), 1)
    return [
        Row.value(
            "an agent of a killed replica is without a stream, median",
            "s",
            ours=median(back or [0.0]),
            at_most=5,
            baseline=f"{cut} of them",
        ),
        Row.value(
            "an agent of a killed replica is without a stream, longest", "s", ours=max(back, default=0.0), at_most=10
        ),
    ]
