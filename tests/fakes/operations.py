"""A history of a small control plane, operation by operation: whatever stores it goes through the same states."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from control_plane.domain.admission import Presented
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.instance import InstanceState
from control_plane.domain.manifest import ManifestForm
from control_plane.manifests.reader import Reader
from control_plane.use_cases.admit_session import AdmitSession, Greeting
from control_plane.use_cases.apply_manifest import ApplyManifest
from control_plane.use_cases.approve_node import ApproveNode
from control_plane.use_cases.create_join_token import CreateJoinToken
from control_plane.use_cases.create_model import CreateModel, NewModel
from control_plane.use_cases.delete_runtime import DeleteRuntime
from control_plane.use_cases.enroll_node import EnrollNode
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.observe_instances import Observation, ObserveInstances
from control_plane.use_cases.place_runtimes import PlaceRuntimes
from control_plane.use_cases.report_liveness import LivenessChange, ReportLiveness
from control_plane.use_cases.restore_runtime import RestoreRuntime
from control_plane.use_cases.revoke_node import RevokeNode
from control_plane.use_cases.shutdown_runtime import ShutdownRuntime
from tests.fakes.control_plane import TINY, World, an_instance, an_inventory
from tests.fakes.stores import AnyStore

N1, KEY = NodeId("n1"), b"csr:key-of-n1"
RUNTIME = """
[[runtimes]]
id = "{id}"
adapter = "llama.cpp"
model = "tiny"
auto_start = true
tags = {{ turn = "{turn}" }}
"""
TABLES = (
    "meta",
    "change_log",
    "nodes",
    "runtimes",
    "models",
    "join_tokens",
    "operators",
    "desired",
    "events",
    "request_log",
)

Rows = Mapping[str, list[tuple[Any, ...]]]
"""All that is stored, by table; but for the id of the history, which is another in each database."""


@dataclass(slots=True)
class Operator:
    """Does one operation after another on a store; the same each time, to the last random letter."""

    store: AnyStore
    world: World = field(default_factory=World)
    token: str = ""
    asked: int = 0
    place: PlaceRuntimes = field(init=False)

    def __post_init__(self) -> None:
        self.world.store = self.store
        self.world.mirror = Mirror(self.store)
        self.place = PlaceRuntimes(self.store, self.world.mirror, self.world.fleet, self.world.clock)

    @property
    def operations(self) -> tuple[Callable[[], Awaitable[object]], ...]:
        return (
            self.model,
            lambda: self.apply("a", "b", "c"),
            self.grant,
            self.enroll,
            self.approve,
            self.enroll,
            self.session,
            lambda: self.come(online=True),
            self.place,
            lambda: self.report(InstanceState.STARTING),
            lambda: self.report(InstanceState.READY),
            lambda: self.apply("b", "d"),
            self.place,
            self.stop,
            self.restore,
            self.session,
            self.delete,
            lambda: self.store.compact(4),
            lambda: self.come(online=False),
            self.revoke,
            self.place,
        )

    async def do(self, number: int) -> None:
        self.world.clock.advance(timedelta(seconds=1))
        await self.operations[number]()

    async def model(self) -> None:
        new = NewModel(TINY, path="/models/tiny.gguf", sha256="ab" * 32, size_bytes=1024, format="gguf")
        await CreateModel(self.store, self.world.clock, self.world.randomness)(new, request_id=self._id())

    async def apply(self, *runtimes: str) -> None:
        text = "version = 1\n" + "".join(RUNTIME.format(id=id_, turn=self.asked) for id_ in runtimes)
        world = self.world
        apply = ApplyManifest(self.store, world.fleet, world.clock, world.randomness, Reader())
        await apply(text.encode(), ManifestForm.TOML, "site.toml", prune=True, request_id=self._id())

    async def grant(self) -> None:
        grant = CreateJoinToken(self.store, self.world.clock, self.world.randomness)
        self.token = (await grant(node=N1, requires_approval=True, request_id=self._id())).text

    async def enroll(self) -> None:
        world = self.world
        await EnrollNode(self.store, world.clock, world.randomness, world.authority)(self.token, KEY)

    async def approve(self) -> None:
        await ApproveNode(self.store, self.world.fleet, self.world.clock)(N1)

    async def session(self) -> None:
        node = await self.world.node()
        serial = node.certificate_serial
        assert node.certificate_expire_time
        presented = Presented(N1, serial, node.certificate_expire_time)
        greeting = Greeting("installation", "boot", "machine", "1", 7, an_inventory())
        await AdmitSession(self.store, self.world.clock)(presented, greeting)

    async def come(self, *, online: bool) -> None:
        (self.world.fleet.connect if online else self.world.fleet.disconnect)("n1", self.world.clock.now())
        change = LivenessChange(N1, (await self.world.node()).session_epoch, online, self.world.clock.now())
        await ReportLiveness(self.store, self.world.fleet, self.world.clock)([change])

    async def report(self, state: InstanceState) -> None:
        seen = tuple(an_instance(name, state=state) for name in ("a", "b", "c"))
        epoch = (await self.world.node()).session_epoch
        observe = ObserveInstances(self.store, self.world.fleet, self.world.clock)
        await observe(Observation(N1, epoch, seen))

    async def stop(self) -> None:
        stop = ShutdownRuntime(self.store, self.world.fleet, self.world.clock)
        await stop(RuntimeId("d"), request_id=self._id())

    async def restore(self) -> None:
        restore = RestoreRuntime(self.store, self.world.fleet, self.world.clock)
        await restore(RuntimeId("d"), request_id=self._id())

    async def delete(self) -> None:
        await DeleteRuntime(self.store, self.world.clock)(RuntimeId("b"), request_id=self._id())

    async def revoke(self) -> None:
        await RevokeNode(self.store, self.world.fleet, self.world.clock)(N1)

    def _id(self) -> str:
        self.asked += 1
        return str(UUID(int=self.asked, version=4))


def rows_of_file(path: Path) -> Rows:
    """As whoever opens the file next finds them."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return _rows(lambda query: connection.execute(query).fetchall())


def rows_of_server(url: str) -> Rows:
    with psycopg.connect(url) as connection:
        return _rows(lambda query: connection.execute(query.encode()).fetchall())


def _rows(select: Callable[[str], Iterable[tuple[Any, ...]]]) -> Rows:
    found = {table: [tuple(row) for row in select(f"SELECT * FROM {table}")] for table in TABLES}  # noqa: S608 - our names
    ((one, _history, *rest),) = found["meta"]
    return {**found, "meta": [(one, *rest)]} | {t: sorted(map(_comparable, found[t])) for t in TABLES if t != "meta"}


def _comparable(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """None sorts first."""
    return tuple((value is not None, value) for value in row)
