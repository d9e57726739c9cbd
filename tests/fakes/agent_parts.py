"""What the link connects, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field

from node_agent.control_link.messages import Replica
from node_agent.control_link.ports import LinkState, LinkStatus
from node_agent.domain.inventory import Inventory, NodeUsage
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import InstanceStatus, Problem
from node_agent.use_cases.ports import Carrier, EngineDoor, LogChunk, StopHook
from tests.fakes.agent_bench import INVENTORY
from tests.fakes.patience import SLACK


@dataclass(slots=True)
class QuietSupervisor:
    """Takes every spec, starts nothing, and says what a test tells it to."""

    desired: tuple[InstanceSpec, ...] = ()
    told: list[InstanceStatus] = field(default_factory=list)
    listeners: list[Callable[[InstanceStatus], None]] = field(default_factory=list)
    gone_listeners: list[Callable[[InstanceName], None]] = field(default_factory=list)
    held: tuple[InstanceName, ...] = ()
    adopting: asyncio.Event | None = None
    """When given, adoption is done once a test sets it."""
    left: set[InstanceName] = field(default_factory=set)
    probes: list[tuple[InstanceName, str]] = field(default_factory=list)

    async def run(self) -> None:
        await asyncio.Event().wait()

    def desire(self, specs: Sequence[InstanceSpec], held: Collection[InstanceName] = ()) -> None:
        self.desired, self.held = tuple(specs), tuple(held)

    async def adopted(self) -> None:
        if self.adopting:
            await self.adopting.wait()

    def left_running(self) -> Collection[InstanceName]:
        return self.left

    async def admit(self, spec: InstanceSpec) -> Problem | None:
        return None

    def probe(self, instance: InstanceName, request: str) -> None:
        self.probes.append((instance, request))

    def statuses(self) -> Sequence[InstanceStatus]:
        return tuple(self.told)

    def on_status(self, listener: Callable[[InstanceStatus], None]) -> None:
        self.listeners.append(listener)

    def on_gone(self, listener: Callable[[InstanceName], None]) -> None:
        self.gone_listeners.append(listener)

    def before_stop(self, hook: StopHook) -> None:
        """Nothing is ever stopped."""

    def ask_for_traffic(self, carrier: Carrier) -> None:
        """Nothing is ever asked."""

    def door(self, instance: InstanceName) -> EngineDoor | None:
        return None

    def change(self, status: InstanceStatus) -> None:
        self.told = [other for other in self.told if other.name != status.name] + [status]
        for listener in self.listeners:
            listener(status)


@dataclass(slots=True)
class FixedInventory:
    now: NodeUsage | None = None
    listeners: list[Callable[[Inventory], None]] = field(default_factory=list)

    async def inventory(self) -> Inventory:
        return INVENTORY

    def usage(self) -> NodeUsage | None:
        return self.now

    def on_change(self, listener: Callable[[Inventory], None]) -> None:
        self.listeners.append(listener)


@dataclass(slots=True)
class EndlessLog:
    """Two chunks, then silence until the reader stops."""

    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, instance: InstanceName, tail_lines: int, follow: bool) -> AsyncIterator[LogChunk]:
        yield LogChunk(3, f"{instance} {tail_lines}\n".encode())
        yield LogChunk(3, b"more\n", 7)
        if not follow:
            return
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()

    async def whole(self, instance: InstanceName) -> AsyncIterator[LogChunk]:
        yield LogChunk(1, f"all of {instance}\n".encode())


@dataclass(slots=True)
class NotedRelay:
    configured: list[tuple[int, Sequence[Replica], int]] = field(default_factory=list)
    parked: list[tuple[int, str]] = field(default_factory=list)

    def configure(self, epoch: int, replicas: Sequence[Replica], parked: int) -> None:
        self.configured.append((epoch, replicas, parked))

    def park(self, idle: int, relay_address: str = "") -> None:
        self.parked.append((idle, relay_address))


@dataclass(slots=True)
class NotedBoard:
    shown: list[LinkStatus] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def show(self, status: LinkStatus) -> None:
        self.shown.append(status)
        self.changed.set()

    async def until(self, state: LinkState) -> LinkStatus:
        async with asyncio.timeout(10 * SLACK):
            while not self.shown or self.shown[-1].state is not state:
                self.changed.clear()
                await self.changed.wait()
        return self.shown[-1]
