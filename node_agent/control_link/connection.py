"""Keeps this node connected to its control plane: one stream at a time, for the life of the agent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from arw.v1 import agent_service_pb2_grpc
from node_agent.control_link.actions import Action, Desire, Leave, Opened, Store
from node_agent.control_link.backoff import Backoff
from node_agent.control_link.desired import DesiredKeeper
from node_agent.control_link.dialling import dialled
from node_agent.control_link.display import Display
from node_agent.control_link.endings import Endings, Waits
from node_agent.control_link.log_push import push_logs
from node_agent.control_link.messages import (
    Goodbye,
    GoodbyeKind,
    LogRequest,
    Me,
    ProbeInstance,
    ReplicasChanged,
)
from node_agent.control_link.outbox import ObservedOutbox
from node_agent.control_link.ports import Contact, Credentials, NoContact, Relay
from node_agent.control_link.removal_guard import RemovalGuard
from node_agent.control_link.servers import Servers
from node_agent.control_link.session import AgentSession, SessionTimers
from node_agent.control_link.stream import Ending, Stream
from node_agent.domain.errors import StorageUnavailable
from node_agent.domain.inventory import Inventory
from node_agent.domain.offer import Offer
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import InstanceStatus, Problem
from node_agent.domain.trust import TrustBundle
from node_agent.use_cases.ports import DesiredStore, Hardware, Logs, Supervisor

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LinkTimers:
    session: SessionTimers = field(default_factory=SessionTimers)
    removal_hold: timedelta = timedelta(seconds=60)
    reconnect_cap: timedelta = timedelta(seconds=10)
    refused_retry: timedelta = timedelta(hours=1)
    diagnose_every: timedelta = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Addresses:
    grpc: str
    enrollment: str


@dataclass(frozen=True, slots=True)
class Node:
    """What of this node the link connects."""

    me: Me
    inventory: Hardware
    supervisor: Supervisor
    desired: DesiredStore
    logs: Logs
    relay: Relay
    credentials: Credentials
    contact: Contact = field(default_factory=NoContact)


@dataclass(slots=True)
class _Held:
    """What outlives a stream."""

    keeper: DesiredKeeper
    guard: RemovalGuard
    backoff: Backoff
    outbox: ObservedOutbox = field(default_factory=ObservedOutbox)


class Link:
    """Implements the stream's Host."""

    def __init__(
        self,
        node: Node,
        addresses: Addresses,
        display: Display,
        timers: LinkTimers,
        *,
        chance: Callable[[], float],
        clock: Callable[[], float],
        accepted_history: Callable[[], str],
    ) -> None:
        self._node = node
        self._servers = Servers(addresses.grpc, chance)
        self._display = display
        self._timers = timers
        self._chance = chance
        self.now = clock
        self._accepted_history = accepted_history
        stored = node.desired.load()
        keeper = DesiredKeeper(stored, accepted_history())
        guard = RemovalGuard.of(timers.removal_hold.total_seconds(), node.me.boot_id, stored.held)
        self._held = _Held(keeper, guard, Backoff(timers.reconnect_cap, chance))
        self._disk = asyncio.Lock()
        self._poke = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._stream: Stream | None = None
        self._offer: Offer | None = None
        self._endings = Endings(
            node.credentials,
            display,
            self._servers,
            self._held.backoff,
            enrollment=addresses.enrollment,
            waits=Waits(timers.refused_retry, timers.diagnose_every),
            now=clock,
        )
        self._newer_inventory: Inventory | None = None
        node.supervisor.on_status(self._status_changed)
        node.supervisor.on_gone(self._instance_gone)
        node.inventory.on_change(self._inventory_changed)

    async def run(self) -> None:
        """Until cancelled. What is stored already is wanted, whether or not the control plane answers."""
        # A store that never heard of a control plane, or is older than what was acted on, says nothing about what runs
        # here: nothing is stopped for it.
        if self._held.keeper.complete:
            self.desire(self._held.guard.desire(self._held.keeper.specs))
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._release_reports())
            while True:
                ending, offer = await self._attempt()
                await self._pause(await self._endings.after(ending, offer))

    def wake(self) -> None:
        """Try at once, and look again at what this node's owner accepted."""
        self._held.keeper.accept(self._accepted_history())
        self._poke.set()
        if self._stream:
            self._stream.perform(self._stream.session.history_accepted())

    def reconnect(self) -> None:
        """Open a new stream soon, with the newest credential."""
        self._poke.set()
        if self._stream:
            self._stream.perform([Leave("A renewed certificate is taken into use.", timedelta(), stay=True)])

    async def say_goodbye(self, kind: GoodbyeKind = GoodbyeKind.RESTART) -> None:
        if self._stream and self._stream.session.opened:
            await self._stream.say_goodbye(Goodbye(kind))

    # What the stream asks of its host.

    def desire(self, wanted: Desire) -> None:
        self._node.supervisor.desire(wanted.specs, wanted.held)

    async def admit(self, spec: InstanceSpec) -> Problem | None:
        return await self._node.supervisor.admit(spec)

    async def store(self, session: AgentSession, change: Store) -> list[Action]:
        if self._tasks is None:
            raise RuntimeError("the link does not run")
        return await asyncio.shield(self._tasks.create_task(self._write(session, change)))

    def park(self, idle: int, relay_address: str) -> None:
        self._node.relay.park(idle, relay_address)

    def probe(self, asked: ProbeInstance) -> None:
        self._node.supervisor.probe(asked.instance, asked.request)

    def trust(self, told: TrustBundle) -> None:
        self._node.credentials.trust(told)

    def regroup(self, told: ReplicasChanged) -> None:
        if self._stream:
            self._servers.know(told.replicas)
            self._node.relay.configure(self._stream.session.epoch, told.replicas, told.parked_connections)

    def opened(self, action: Opened) -> None:
        welcome = action.welcome
        if self._offer:
            self._node.credentials.accepted(self._offer)
        self._servers.know(welcome.replicas)
        self._node.relay.configure(welcome.session_epoch, welcome.replicas, welcome.parked_connections)
        _log.info("session_opened", epoch=welcome.session_epoch, history=welcome.history_id)

    def settled(self) -> None:
        self._held.backoff.settled()
        self._servers.settled()

    def progressed(self) -> None:
        if self._stream:
            session = self._stream.session
            self._display.follow(session)
            if session.opened and session.heard_at is not None:
                self._node.contact.heard(session.heard_at)

    async def push_logs(self, stub: agent_service_pb2_grpc.AgentServiceAsyncStub, request: LogRequest) -> None:
        if not request.grpc_address or self._offer is None:
            await push_logs(stub, self._node.logs, request)
            return
        async with dialled(request.grpc_address, self._offer) as other:
            await push_logs(other, self._node.logs, request)

    # One attempt.

    async def _attempt(self) -> tuple[Ending, Offer]:
        self._newer_inventory = None
        inventory = await self._node.inventory.inventory()
        async with self._disk:  # a write of the last stream may still be under way
            self._offer = offer = self._node.credentials.offer()
        server = self._servers.next()
        self._display.connecting(server)
        async with dialled(server, offer) as stub:
            held = self._held
            held.outbox.know(self._node.supervisor.statuses())
            session = AgentSession(
                me=self._node.me,
                inventory=inventory,
                keeper=held.keeper,
                guard=held.guard,
                outbox=held.outbox,
                left_running=self._node.supervisor.left_running,
                usage=self._node.inventory.usage,
                timers=self._timers.session,
                chance=self._chance,
                now=self.now(),
                trusted=self._node.credentials.trusted,
            )
            self._tell_newer(session)
            self._stream = Stream(stub, session, self)
            try:
                return await self._stream.run(), offer
            finally:
                self._stream = None
                self._node.contact.lost()

    async def _write(self, session: AgentSession, change: Store) -> list[Action]:
        """Store, then let it count: in this order and to the end, whatever becomes of the stream."""
        async with self._disk:
            try:
                await asyncio.to_thread(change.write, self._node.desired)
            except StorageUnavailable as refusal:
                _log.error("desired_state_not_stored", reason=refusal.reason, text=refusal.text)
                return session.unstored(Problem.of(refusal), self.now())
            actions = session.stored(self.now())
            for action in actions:
                if isinstance(action, Desire):
                    self.desire(action)
        return [action for action in actions if not isinstance(action, Desire)]

    async def _pause(self, delay: timedelta) -> None:
        self._poke.clear()
        try:
            async with asyncio.timeout(delay.total_seconds()):
                await self._poke.wait()
        except TimeoutError:
            return

    async def _release_reports(self) -> None:
        await self._node.supervisor.adopted()
        self._held.outbox.release(self._node.supervisor.statuses())
        if self._stream:
            self._stream.nudge()

    def _status_changed(self, status: InstanceStatus) -> None:
        if self._stream:
            self._stream.session.status_changed(status, self.now())
            self._stream.nudge()
        else:
            self._held.outbox.changed(status)

    def _instance_gone(self, name: InstanceName) -> None:
        if self._stream:
            self._stream.session.instance_gone(name, self.now())
            self._stream.nudge()
        else:
            self._held.outbox.gone(name)

    def _inventory_changed(self, inventory: Inventory) -> None:
        self._newer_inventory = inventory
        if self._stream:
            self._tell_newer(self._stream.session)
            self._stream.nudge()

    def _tell_newer(self, session: AgentSession) -> None:
        if self._newer_inventory is not None:
            session.inventory_changed(self._newer_inventory)
