"""What one replica of ten bears at 100,000 agents, of which it has 10,000: rules, codecs and stores, no sockets."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import psutil

from benchmarks.row import Row
from control_plane.domain.accelerator import Accelerator, AcceleratorKind, AcceleratorUsage, NodeUsage
from control_plane.domain.ids import ModelId, NodeId, ReplicaId, RuntimeId
from control_plane.domain.instance import Instance, InstanceState
from control_plane.domain.matrix import HttpFigures
from control_plane.domain.model import Model
from control_plane.domain.node import Engine, Node, NodeInventory, Standing
from control_plane.domain.replica import Place
from control_plane.domain.runtime import DesiredState, Runtime, RuntimeSpec
from control_plane.process.clock import SystemClock
from control_plane.replicas.circle import Circle, Pace
from control_plane.replicas.notes import INSTANCE, SESSION, NoteKind, instance_key
from control_plane.replicas.telling import Telling
from control_plane.replicas.traffic import SharedTraffic
from control_plane.sessions.contacts import SessionFacts
from control_plane.sessions.fleet import FleetRules, FleetState
from control_plane.store.sqlite import SqliteStore
from control_plane.use_cases.board import Note
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.place_runtimes import PlaceRuntimes
from control_plane.use_cases.ports import Transaction
from wire import event_loop

NODES = 100_000
REPLICAS = 10
HERE = NODES // REPLICAS
HEARTBEAT_S = 20
"""At 10,000 agents a replica."""
WRITTEN_AT_ONCE = 2_000
CHANGES = 50
KIB = 1024
ENGINE = Engine("llama.cpp", "/usr/bin/llama-server", "0" * 64, "light")
DEVICE = Accelerator("cpu", AcceleratorKind.CPU)
MODEL = ModelId("light")
SPEC = RuntimeSpec(adapter="llama.cpp", model=MODEL, auto_start=True)


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="arw-scale-") as folder:
        yield from event_loop.run(_measure(Path(folder)))


async def _measure(folder: Path) -> list[Row]:
    return [*_heard_of_others(), *await _placed(folder)]


# What the other replicas tell.


class _NoFigures:
    def measured(self) -> dict[NodeId, HttpFigures]:
        return {}

    def window(self, _node: NodeId) -> None:
        return None


class _NoBoard:
    """The notes come from here, and not from PostgreSQL, which is another's processor."""

    async def beat(self, *_: object) -> None:
        raise NotImplementedError

    def on_news(self, _listener: Callable[[], None]) -> Callable[[], None]:
        raise NotImplementedError

    async def leave(self) -> None:
        raise NotImplementedError


def _heard_of_others() -> Iterator[Row]:
    fleet = FleetState(SystemClock(), FleetRules())
    traffic = SharedTraffic(_NoFigures())
    circle = Circle(_NoBoard(), fleet, traffic, Telling(fleet, _NoFigures()), place=Place, pace=Pace())  # type: ignore[arg-type]
    notes = [note for number in range(HERE, NODES) for note in _notes(number)]
    before, started = _resident(), time.process_time()
    for note in notes:
        circle.read(note)
    seconds, taken = time.process_time() - started, _resident() - before
    yield Row.value(
        f"a replica that joins hears of {NODES - HERE:,} nodes at others, CPU", "s", ours=seconds, at_most=15
    )
    yield Row.value("memory for a node at another replica", "KiB", ours=taken / (NODES - HERE) / KIB, at_most=8)
    yield _beaten(circle)
    yield _told(fleet)


def _notes(number: int) -> Iterator[Note]:
    replica, node, runtime = ReplicaId(f"replica-{number // HERE}"), NodeId(f"n{number}"), RuntimeId(f"r{number}")
    yield Note(replica, NoteKind.SESSION, node, SESSION.write(_facts(node)))
    instance = Instance(node, runtime, InstanceState.READY, update_time=SystemClock().now())
    yield Note(replica, NoteKind.INSTANCE, instance_key(node, runtime), INSTANCE.write(instance))


def _facts(node: NodeId) -> SessionFacts:
    usage = NodeUsage((AcceleratorUsage("cpu"),), SystemClock().now())
    return SessionFacts(node, 1, "0" * 40, node, online=True, connected=True, applied_revision=1, usage=usage)


def _beaten(circle: Circle) -> Row:
    """One period in which each of the others' nodes says what its devices do."""
    notes = [next(_notes(number)) for number in range(HERE, NODES)]
    started = time.process_time()
    for note in notes:
        circle.read(note)
    share = (time.process_time() - started) * 100 / HEARTBEAT_S
    return Row.value(f"heartbeats of {NODES - HERE:,} agents at others, CPU", "% of a core", ours=share, at_most=10)


def _told(fleet: FleetState) -> Row:
    """The same for this replica's own."""
    for number in range(HERE):
        fleet.connected(NodeId(f"n{number}"), 1, 1)
    telling = Telling(fleet, _NoFigures())
    telling.take()
    usage, started = NodeUsage((AcceleratorUsage("cpu"),), SystemClock().now()), time.process_time()
    for second in range(HEARTBEAT_S):
        for number in range(second, HERE, HEARTBEAT_S):
            fleet.measured(NodeId(f"n{number}"), 1, usage)
        telling.take()
    share = (time.process_time() - started) * 100 / HEARTBEAT_S
    return Row.value(f"telling others of {HERE:,} agents' heartbeats, CPU", "% of a core", ours=share, at_most=10)


# Rows and places.


async def _placed(folder: Path) -> list[Row]:
    clock = SystemClock()
    store = await SqliteStore.open(folder / "arw.db", clock)
    try:
        model = Model(MODEL, "uid", "etag", path="/light.gguf", sha256="0" * 64, size_bytes=1, create_time=clock.now())
        await store.write(lambda tx: tx.models.put(model))
        for first in range(0, NODES, WRITTEN_AT_ONCE):
            await store.write(_rows(range(first, first + WRITTEN_AT_ONCE)))
        fleet = FleetState(clock, FleetRules())
        for number in range(NODES):
            fleet.connected(NodeId(f"n{number}"), 1, 1)
        mirror = Mirror(store)
        before, started = _resident(), time.monotonic()
        await mirror.look()
        found = [
            Row.value(
                f"first look at {NODES:,} nodes and as many runtimes",
                "s",
                ours=time.monotonic() - started,
                at_most=30,
            ),
            Row.value("memory for a row of either", "KiB", ours=(_resident() - before) / NODES / 2 / KIB, at_most=6),
        ]
        return [*found, *await _moved(store, mirror, PlaceRuntimes(store, mirror, fleet, clock))]
    finally:
        await store.close()


def _rows(numbers: Sequence[int]) -> Callable[[Transaction], None]:
    def put(tx: Transaction) -> None:
        for number in numbers:
            tx.nodes.put(_node(number))
            tx.runtimes.put(_runtime(number, node=NodeId(f"n{number}") if number else None))

    return put


def _node(number: int) -> Node:
    inventory = NodeInventory("linux", "x86_64", "6.1", 8, 1 << 34, (DEVICE,), (ENGINE,))
    name, now = NodeId(f"n{number}"), SystemClock().now()
    return Node(name, f"uid-{number}", "etag", Standing.ADMITTED, session_epoch=1, inventory=inventory, create_time=now)


def _runtime(number: int, node: NodeId | None) -> Runtime:
    name, now = RuntimeId(f"r{number}"), SystemClock().now()
    return Runtime(
        name,
        f"uid-{number}",
        "etag",
        SPEC,
        DesiredState.RUNNING,
        generation=1,
        revision=1,
        create_time=now,
        update_time=now,
        node=node,
    )


async def _moved(store: SqliteStore, mirror: Mirror, place: PlaceRuntimes) -> list[Row]:
    started = time.process_time()
    held = await _longest_hold(place())
    everyone = time.process_time() - started
    started = time.process_time()
    for number in range(NODES, NODES + CHANGES):
        row = _runtime(number, node=None)
        await store.write(lambda tx, row=row: tx.runtimes.put(row))  # type: ignore[misc]
        await place()
        await asyncio.sleep(0)
    each = (time.process_time() - started) / CHANGES * 1000
    assert mirror.runtimes
    return [
        Row.value(f"placement looks at all {NODES:,} runtimes again, CPU", "s", ours=everyone, at_most=10),
        Row.value("the longest that nobody else has a turn meanwhile", "ms", ours=held * 1000, at_most=500),
        Row.value(f"placement of one new runtime among {NODES:,} nodes, CPU", "ms", ours=each, at_most=100),
    ]


async def _longest_hold(work: Awaitable[object]) -> float:
    """In seconds: for how long at most nothing else on the loop has its turn."""
    longest = 0.0

    async def wait_for_turns() -> None:
        nonlocal longest
        last = time.monotonic()
        while True:
            await asyncio.sleep(0)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

    waiting = asyncio.create_task(wait_for_turns())
    await work
    waiting.cancel()
    return longest


def _resident() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss
