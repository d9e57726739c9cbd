"""Claims on a control plane without edges: asked for, settled, and let in by nodes that a test plays."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

from control_plane.domain.claims import holds as claim_holds
from control_plane.domain.claims.allocation import Wait
from control_plane.domain.claims.claim import Claim, Requirement, RuntimeClaim
from control_plane.domain.claims.line import Rules
from control_plane.domain.ids import ClaimId, NodeId, ProjectId, RuntimeId, instance_name
from control_plane.domain.instance import InstanceState
from control_plane.domain.project import Project
from control_plane.domain.runtime import EngineSettings, Runtime
from control_plane.use_cases.claims.acquire_claim import AcquireClaim, Quota
from control_plane.use_cases.claims.book import ClaimBook
from control_plane.use_cases.claims.confirm_claims import ConfirmClaims
from control_plane.use_cases.claims.dues import ClaimDues
from control_plane.use_cases.claims.facts import Sight
from control_plane.use_cases.claims.owners import ClaimOwners
from control_plane.use_cases.claims.release_claim import ReleaseClaim, RevokeClaim
from control_plane.use_cases.claims.renew_claims import RenewClaims
from control_plane.use_cases.claims.settle_claims import SettleClaims
from control_plane.use_cases.claims.waits import ClaimWaits
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.ports import Transaction
from control_plane.use_cases.project_book import ProjectBook
from control_plane.use_cases.rows import save_runtime
from tests.fakes.clock import NOON, FakeClock
from tests.fakes.control_plane import World, a_model, a_node, a_runtime, a_spec, an_instance

AMNESTY = timedelta(seconds=15)
TTL = timedelta(seconds=60)
MINE = ProjectId("mine")
PROJECTS = (MINE, *map(ProjectId, ("theirs", "others", *(f"p{number}" for number in range(8)))))
LetIn = Mapping[RuntimeId, Mapping[str, int]]


def an_order(
    tag: str = "chat", *fallbacks: str, wanted: Mapping[str, Any] | None = None, **changed: Any
) -> RuntimeClaim:
    said: dict[str, Any] = {"ttl": TTL, **changed}
    others = tuple(Requirement(other) for other in fallbacks)
    return RuntimeClaim(Requirement(tag, **(wanted or {})), fallbacks=others, **said)


def a_server(name: str, node: str, slots: int = 2, **changed: Any) -> Runtime:
    settings = EngineSettings(slots=slots, context_length=4096)
    return a_runtime(name, node, a_spec(settings=settings, **changed))


@dataclass(slots=True)
class Site:
    """One replica that settles claims; `restarted` is the one after it. Its nodes hear late, and in order."""

    world: World = field(default_factory=World)
    rules: Rules = field(default_factory=Rules)
    quota: Quota = field(default_factory=Quota)
    sent: dict[NodeId, deque[tuple[int, LetIn]]] = field(default_factory=dict)
    lets_in: dict[NodeId, LetIn] = field(default_factory=dict)
    """What each node lets in now."""
    book: ClaimBook = field(init=False)
    dues: ClaimDues = field(init=False)
    settle: SettleClaims = field(init=False)
    acquire: AcquireClaim = field(init=False)
    confirm: ConfirmClaims = field(init=False)
    renew: RenewClaims = field(init=False)
    waits: ClaimWaits = field(init=False)

    def __post_init__(self) -> None:
        world = self.world
        world.mirror = Mirror(world.store)
        sight = Sight(world.mirror, world.fleet)
        self.book = ClaimBook(world.store)
        self.dues = ClaimDues(world.store, self.book, world.clock, AMNESTY)
        self.settle = SettleClaims(
            world.store,
            sight,
            world.clock,
            book=self.book,
            dues=self.dues,
            owners=ClaimOwners(self.book, ProjectBook(world.store)),
            amnesty=AMNESTY,
            rules=self.rules,
        )
        self.acquire = AcquireClaim(
            world.store, sight, world.clock, world.randomness, self.book, self.rules, self.quota
        )
        self.waits = ClaimWaits(world.store, sight, world.clock, self.book, self.rules)
        self.confirm = ConfirmClaims(world.store, sight, world.clock, self.book)
        self.renew = RenewClaims(world.store, world.clock, self.dues)

    def restarted(self) -> Site:
        """Nothing that was in memory is known any more, and no node has come back yet."""
        self.world.fleet.contacts.clear()
        return Site(self.world, self.rules, self.quota, self.sent, self.lets_in)

    async def has(self, *servers: Runtime) -> None:
        """Their nodes are there, and they serve."""
        nodes = {NodeId(server.node) for server in servers if server.node}
        await self.world.has(a_model(), *(a_node(node) for node in sorted(nodes)))
        await self.world.store.write(_with_projects)
        for server in servers:
            await self.declared(server)
        for node in sorted(nodes):
            self.world.fleet.connect(node, self.world.clock.now())
            await self.synced(node)

    async def declared(self, server: Runtime) -> None:
        await self.world.store.write(lambda tx: save_runtime(tx, server, self.world.clock.now()))
        self.reports(server.id, str(server.node))

    async def deleted(self, name: str) -> None:
        await self.world.store.write(lambda tx: _deleted(tx, RuntimeId(name)))

    def reports(self, name: str, node: str, state: InstanceState = InstanceState.READY) -> None:
        self.world.fleet.record(an_instance(name, node, state))

    async def moved(self, name: str, node: str) -> None:
        """As placement does it."""
        await self.world.store.write(lambda tx: _moved(tx, RuntimeId(name), NodeId(node), self.world.clock.now()))

    async def sends(self) -> None:
        """What each node is to let in goes on its way."""
        for node in await self.world.store.read(lambda tx: [row.id for row in tx.nodes.all()]):
            self.sent.setdefault(node, deque()).append(await self.world.store.read(partial(_told, node)))

    async def synced(self, node: str, most: int | None = None) -> None:
        """The node hears what was sent, or the oldest `most` of it, and says so; settling hears of that later."""
        name = NodeId(node)
        await self.sends()
        for _ in range(len(self.sent[name]) if most is None else min(most, len(self.sent[name]))):
            revision, self.lets_in[name] = self.sent[name].popleft()
            known = self.world.fleet.liveness(name)
            self.world.fleet.contacts[name] = replace(known, applied_revision=max(revision, known.applied_revision))

    async def settled(self) -> None:
        """Until nothing goes on without a node, a holder or the clock."""
        for _ in range(20):
            if not await self.settle():
                return
        raise AssertionError("it never comes to rest")

    async def granted(self, order: RuntimeClaim | None = None, project: str = MINE, request_id: str = "") -> Claim:
        """Asked for, and let in by the node."""
        claim = await self.acquire(ProjectId(project), order or an_order(), request_id)
        return await self.let_in(claim)

    async def let_in(self, claim: Claim) -> Claim:
        claim = await self.claim(claim.id)
        assert claim.held is not None, claim.problem
        await self.synced(claim.held.node)
        await self.settled()
        return await self.claim(claim.id)

    async def heard(self, claim: Claim) -> Claim:
        """Once the first node has said that whoever left has left."""
        await self.synced("n1")
        await self.settled()
        return await self.claim(claim.id)

    async def renewed(self, claim: ClaimId, project: str = MINE) -> None:
        asked = asyncio.ensure_future(self.renew(ProjectId(project), claim))
        await asyncio.sleep(0)
        await self.renew.flush()
        await asked

    async def waiting(self, claim: Claim) -> Wait:
        wait = await self.waits.of(await self.claim(claim.id))
        assert wait is not None, "it does not wait"
        return wait

    async def release(self, claim: ClaimId, project: str = MINE) -> Claim:
        return await ReleaseClaim(self.world.store, self.world.clock)(ProjectId(project), claim)

    async def revoke(self, claim: ClaimId) -> Claim:
        return await RevokeClaim(self.world.store, self.world.clock)(claim, "local", "for a test")

    async def claim(self, claim: ClaimId) -> Claim:
        row = await self.world.store.read(lambda tx: tx.claims.get(claim))
        assert row is not None, f"no claim {claim}"
        return row

    async def claims(self) -> list[Claim]:
        return list(await self.world.store.read(lambda tx: tx.claims.all()))

    async def runtimes(self) -> list[Runtime]:
        return list(await self.world.store.read(lambda tx: tx.runtimes.all()))

    async def passes(self, seconds: float, *, step: float = 5, renewing: tuple[Claim, ...] = ()) -> None:
        """Time goes by; these are renewed all along."""
        while seconds > 0:
            self.world.clock.advance(timedelta(seconds=min(step, seconds)))
            seconds -= step
            for claim in renewing:
                await self.renewed(claim.id, claim.project)
            await self.settled()


async def a_site(*servers: Runtime, rules: Rules | None = None) -> Site:
    """At noon, when everybody has had the time to come back since the start."""
    made = Site(World(clock=FakeClock(NOON - AMNESTY)), rules or Rules())
    await made.has(*servers)
    await made.passes(AMNESTY.total_seconds())
    return made


def _with_projects(tx: Transaction) -> None:
    for project in PROJECTS:
        tx.projects.put(Project(project, f"uid-{project}", "e1", NOON, NOON))


def _told(node: NodeId, tx: Transaction) -> tuple[int, LetIn]:
    placed = (row.content.runtime for row in tx.desired.live(node) if row.content)
    return tx.revision(), {runtime.id: claim_holds.live(runtime) for runtime in placed}


def _deleted(tx: Transaction, name: RuntimeId) -> None:
    runtime = tx.runtimes.get(name)
    if runtime is not None and runtime.node is not None:
        tx.desired.bury(runtime.node, instance_name(runtime.node, name))
    tx.runtimes.delete(name)


def _moved(tx: Transaction, name: RuntimeId, node: NodeId, now: Any) -> None:
    runtime = tx.runtimes.get(name)
    assert runtime is not None
    if runtime.node is not None:
        tx.desired.bury(runtime.node, instance_name(runtime.node, name))
    save_runtime(tx, replace(claim_holds.moved(runtime), node=node), now)
