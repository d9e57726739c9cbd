"""Replicas that share one store in memory, each with its sessions, and agents' streams without any network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from arw.v1 import session_pb2 as pb
from control_plane.domain.admission import Presented
from control_plane.domain.authority import Authority, AuthorityState
from control_plane.domain.ids import AuthorityId, NodeId, ReplicaId
from control_plane.domain.replica import Place
from control_plane.sessions.fleet import FleetRules, FleetState
from control_plane.sessions.hub import Sessions, SessionUseCases
from control_plane.sessions.invitation import Invitation
from control_plane.sessions.registry import FlapRules
from control_plane.sessions.rules import SessionRules
from control_plane.sessions.trust import TrustTold
from control_plane.store.memory import MemoryStore
from control_plane.use_cases.admit_session import AdmitSession
from control_plane.use_cases.observe_instances import ObserveInstances
from control_plane.use_cases.quarantine_node import QuarantineNode
from control_plane.use_cases.report_liveness import ReportLiveness
from control_plane.use_cases.report_troubles import ReportTroubles
from control_plane.use_cases.report_trust import ReportTrust
from control_plane.use_cases.update_inventory import UpdateInventory
from tests.fakes.clock import NOON, FakeClock
from tests.fakes.control_plane import a_node
from tests.fakes.patience import SLACK
from wire.refusal import Refusal

TICK = timedelta(milliseconds=10)
PATIENCE = 10.0 * SLACK
SERIAL = "5e1a1"


@dataclass(frozen=True, slots=True)
class StandingAuthorities:
    """One that never changes."""

    rows: tuple[Authority, ...] = (Authority(AuthorityId("aa"), AuthorityState.ACTIVE, b"ca"),)

    def check_issuer(self, _: str) -> None:
        return


class Hub:
    """One replica."""

    def __init__(
        self, name: str, store: MemoryStore, clock: FakeClock, hubs: dict[ReplicaId, Hub], rules: SessionRules
    ) -> None:
        self.id = ReplicaId(name)
        self.place = Place(f"{name}:7443", f"{name}:7445")
        self.fleet = FleetState(clock, FleetRules())
        self._hubs = hubs
        self.sessions = Sessions(
            store,
            clock,
            self.fleet,
            SessionUseCases(
                AdmitSession(store, clock),
                ObserveInstances(store, self.fleet, clock),
                QuarantineNode(store, self.fleet, clock),
                ReportLiveness(store, self.fleet, clock),
                ReportTroubles(store, self.fleet, clock),
                UpdateInventory(store, self.fleet, clock),
            ),
            Invitation(self._places),
            rules=rules,
            flaps=FlapRules(),
            tick=TICK,
            elsewhere=self,
            trust=TrustTold(StandingAuthorities(), ReportTrust(store), TICK),
        )

    def send(self, node: NodeId, errand: bytes) -> bool:
        """Elsewhere, with a post that takes no time."""
        replica = self.fleet.replica_of(node)
        if replica is None:
            return False
        self._hubs[replica].sessions.errand(errand)
        return True

    def tell(self) -> None:
        """What is new of its sessions, to all others."""
        for node in self.fleet.contacts.news():
            facts = self.fleet.contacts.facts(node)
            for other in self._hubs.values():
                if facts is not None and other is not self:
                    other.fleet.adopt(self.id, facts)
                    other.sessions.overtaken(node, facts.epoch, facts.process_id)

    def _places(self) -> list[Place]:
        return [self.place, *(hub.place for hub in self._hubs.values() if hub is not self)]


@dataclass
class Hubs:
    clock: FakeClock = field(default_factory=FakeClock)
    store: MemoryStore = field(init=False)
    by_id: dict[ReplicaId, Hub] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock)

    def add(self, name: str, rules: SessionRules | None = None) -> Hub:
        made = self.by_id[ReplicaId(name)] = Hub(name, self.store, self.clock, self.by_id, rules or SessionRules())
        return made

    async def join(self, *nodes: str) -> None:
        for node in nodes:
            row = a_node(node, session_epoch=0, certificate_serial=SERIAL)
            await self.store.write(lambda tx, row=row: tx.nodes.put(row))  # type: ignore[misc]

    @asynccontextmanager
    async def running(self, *names: str) -> AsyncIterator[None]:
        """These hear what changes in the store, and do what is due by time."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.by_id[ReplicaId(name)].sessions.run()) for name in names]
            await asyncio.sleep(0)
            yield
            for task in tasks:
                task.cancel()


class PlainAgent:
    """Says what a test tells it to, straight into a hub."""

    def __init__(self, node: str, process_id: str = "p1", *capabilities: str) -> None:
        self.node = node
        self.process_id = process_id
        self.capabilities = capabilities
        self.epoch = 0
        self.said: list[pb.AgentMessage] = []
        self.heard: list[pb.ControlMessage] = []
        self.ended: Refusal | None = None
        self._task: asyncio.Task[None] | None = None
        self._requests: asyncio.Queue[pb.AgentMessage | None] = asyncio.Queue()
        self._news = asyncio.Event()

    async def open(self, hub: Hub) -> None:
        """A new stream, up to its Welcome; raises what it ended with instead."""
        self.dial(hub)
        self.say(
            hello=pb.Hello(
                node=f"nodes/{self.node}",
                process_id=self.process_id,
                installation_id="i1",
                protocol_min=1,
                protocol_max=1,
                capabilities=self.capabilities,
            )
        )
        await self.until(lambda: bool(self.bodies("welcome")) or self.over)
        if self.ended is not None:
            raise self.ended
        self.epoch = self.heard[0].session_epoch

    def dial(self, hub: Hub) -> None:
        self.epoch, self.ended = 0, None
        self.said, self.heard, self._requests = [], [], asyncio.Queue()
        serving = self._serve(hub, self.heard, self._requests)
        self._task = asyncio.get_running_loop().create_task(serving)
        self._task.add_done_callback(lambda _: self._news.set())

    def say(self, **body: Any) -> None:
        message = pb.AgentMessage(seq=len(self.said) + 1, session_epoch=self.epoch, **body)
        self.repeat(message)

    def repeat(self, message: pb.AgentMessage) -> None:
        self.said.append(message)
        self._requests.put_nowait(message)

    async def hang_up(self) -> None:
        self._requests.put_nowait(None)
        if self._task is not None:
            await self._task

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self._news.clear()
                await self._news.wait()

    async def hear(self, kind: str) -> pb.ControlMessage:
        """The newest of a kind, waiting for one."""
        await self.until(lambda: bool(self.bodies(kind)))
        return self.bodies(kind)[-1]

    async def why(self) -> str:
        """The reason that the stream ended with."""
        await self.until(lambda: self.over)
        return self.ended.reason if self.ended else ""

    def bodies(self, kind: str) -> list[pb.ControlMessage]:
        return [message for message in self.heard if message.WhichOneof("body") == kind]

    @property
    def over(self) -> bool:
        return self._task is None or self._task.done()

    async def _serve(
        self, hub: Hub, heard: list[pb.ControlMessage], requests: asyncio.Queue[pb.AgentMessage | None]
    ) -> None:
        presented = Presented(NodeId(self.node), SERIAL, NOON + timedelta(days=1))
        try:
            async for message in hub.sessions.serve(presented, _each(requests), _never):
                heard.append(message)
                self._news.set()
        except Refusal as refused:
            if requests is self._requests:
                self.ended = refused


async def _each(requests: asyncio.Queue[pb.AgentMessage | None]) -> AsyncIterator[pb.AgentMessage]:
    while (message := await requests.get()) is not None:
        yield message


async def _never(refusal: Refusal) -> None:
    raise AssertionError(f"a stream had to be cut: {refusal}")
