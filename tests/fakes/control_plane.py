"""Values and a whole set of ports for tests of the control plane's rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from control_plane.domain.accelerator import Accelerator, AcceleratorKind
from control_plane.domain.event import Event
from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.instance import Instance, InstanceState, RestartBudget
from control_plane.domain.matrix import HttpFigures
from control_plane.domain.model import Model
from control_plane.domain.node import Engine, Liveness, Node, NodeInventory, Standing
from control_plane.domain.node_view import NodeView
from control_plane.domain.runtime import DesiredState, Runtime, RuntimeSpec
from control_plane.store.memory import MemoryStore
from control_plane.use_cases.circumstances import Circumstances
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.ports import Store, Transaction
from tests.fakes.authority import CountingRandomness, FakeAuthority
from tests.fakes.clock import NOON, FakeClock
from tests.fakes.fleet import FakeFleet

SIZE = 1024 * 1024
ENGINE = Engine("llama.cpp", "/opt/llama-server", "ab" * 32, "b11549")
TINY = ModelId("tiny")


def a_model(name: str = "tiny", **changed: Any) -> Model:
    said: dict[str, Any] = {"path": f"/models/{name}.gguf", "sha256": "ab" * 32, "size_bytes": SIZE, **changed}
    return Model(ModelId(name), f"uid-{name}", "e1", create_time=NOON, **said)


def an_inventory(*kinds: AcceleratorKind, engines: tuple[Engine, ...] = (ENGINE,)) -> NodeInventory:
    devices = tuple(Accelerator(f"dev{number}", kind) for number, kind in enumerate(kinds))
    return NodeInventory("linux", "x86_64", "6.1", 4, 1024 * SIZE, devices, engines)


def a_node(name: str = "n1", *, standing: Standing = Standing.ADMITTED, **changed: Any) -> Node:
    said: dict[str, Any] = {"session_epoch": 1, "inventory": an_inventory(), "create_time": NOON, **changed}
    return Node(NodeId(name), f"uid-{name}", "e1", standing, **said)


def seen(node: Node, *, online: bool = True) -> NodeView:
    return NodeView(node, Liveness(online, NOON, None if online else NOON))


def a_spec(**changed: Any) -> RuntimeSpec:
    said: dict[str, Any] = {"adapter": "llama.cpp", "model": TINY, **changed}
    return RuntimeSpec(**said)


def a_runtime(name: str = "chat", node: str | None = None, spec: RuntimeSpec | None = None, **changed: Any) -> Runtime:
    said: dict[str, Any] = {"desired_state": DesiredState.RUNNING, "generation": 1, "revision": 1, **changed}
    place = NodeId(node) if node else None
    return Runtime(
        RuntimeId(name), f"uid-{name}", "e1", spec or a_spec(), create_time=NOON, update_time=NOON, node=place, **said
    )


def an_instance(
    name: str = "chat", node: str = "n1", state: InstanceState = InstanceState.READY, **changed: Any
) -> Instance:
    return Instance(NodeId(node), RuntimeId(name), state, **changed)


def a_budget(used: int, most: int = 3, reset_at: datetime | None = NOON + timedelta(seconds=600)) -> RestartBudget:
    return RestartBudget(most, timedelta(seconds=600), used, max(0, most - used), reset_at if used else None)


@dataclass(slots=True)
class FakeTraffic:
    figures: dict[NodeId, HttpFigures] = field(default_factory=dict)

    def window(self, node: NodeId) -> HttpFigures | None:
        return self.figures.get(node)


@dataclass(slots=True)
class World:
    """One control plane without edges."""

    clock: FakeClock = field(default_factory=FakeClock)
    fleet: FakeFleet = field(default_factory=FakeFleet)
    randomness: CountingRandomness = field(default_factory=CountingRandomness)
    traffic: FakeTraffic = field(default_factory=FakeTraffic)
    store: Store = field(init=False)
    mirror: Mirror = field(init=False)
    authority: FakeAuthority = field(init=False)
    circumstances: Circumstances = field(init=False)

    def __post_init__(self) -> None:
        self.circumstances = Circumstances(self.fleet, self.clock)
        self.store = MemoryStore(self.clock)
        self.mirror = Mirror(self.store)
        self.authority = FakeAuthority(self.clock)

    async def has(self, *rows: Node | Runtime | Model) -> None:
        await self.store.write(lambda tx: _put_all(tx, rows))

    async def runtime(self, name: str = "chat") -> Runtime:
        row = await self.store.read(lambda tx: tx.runtimes.get(RuntimeId(name)))
        assert row is not None, f"no runtime {name}"
        return row

    async def node(self, name: str = "n1") -> Node:
        row = await self.store.read(lambda tx: tx.nodes.get(NodeId(name)))
        assert row is not None, f"no node {name}"
        return row

    async def desired(self, node: str = "n1") -> list[str]:
        rows = await self.store.read(lambda tx: tx.desired.live(NodeId(node)))
        return [row.name for row in rows]

    async def events(self, *prefixes: str) -> Sequence[Event]:
        return await self.store.read(lambda tx: tx.journal.after(0, prefixes, 1000))

    async def topics(self) -> list[str]:
        return [event.kind for event in await self.events()]

    async def revision(self) -> int:
        return await self.store.read(lambda tx: tx.revision())


def _put_all(tx: Transaction, rows: Sequence[Node | Runtime | Model]) -> None:
    for row in rows:
        match row:
            case Node():
                tx.nodes.put(row)
            case Model():
                tx.models.put(row)
            case Runtime():
                tx.runtimes.put(row)
