from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from control_plane.domain.admission import Presented, activated
from control_plane.domain.node import Liveness, Node, NodeInventory
from control_plane.domain.node_view import NodeView
from control_plane.use_cases import announcements
from control_plane.use_cases.authenticate_node import authenticated
from control_plane.use_cases.lost_history import Testimony, begin_anew
from control_plane.use_cases.ports import Clock, Store, Transaction
from control_plane.use_cases.rows import node_of


@dataclass(frozen=True, slots=True)
class Greeting:
    """What Hello says of the agent and its machine."""

    installation_id: str
    boot_id: str
    machine_id_hash: str
    agent_version: str
    agent_pid: int
    inventory: NodeInventory
    history_id: str = ""
    revision: int = 0
    """Of that history, as the agent has it."""


@dataclass(frozen=True, slots=True)
class Admission:
    node: Node
    session_epoch: int
    history_id: str
    revision: int


@dataclass(frozen=True, slots=True)
class AdmitSession:
    """Open the node's next session; every earlier one is stale. Refusals as AuthenticateNode.

    Nodes that know more than the database make it begin a new history.
    """

    store: Store
    clock: Clock
    _testimony: Testimony = field(default_factory=Testimony)

    async def __call__(self, presented: Presented, greeting: Greeting) -> Admission:
        return await self.store.write(lambda tx: self._admitted(tx, presented, greeting))

    def _admitted(self, tx: Transaction, presented: Presented, greeting: Greeting) -> Admission:
        now = self.clock.now()
        before = authenticated(tx, presented, self.clock)
        if self._testimony.counts(tx, before.id, greeting.history_id, greeting.revision):
            begin_anew(tx, greeting.revision, now, before.id)
            before = node_of(tx, before.id)
        node = _greeted(activated(before, presented), greeting, now)
        tx.nodes.put(node)
        if not before.session_epoch or _facts(before) != _facts(node):
            tx.journal.append(announcements.node_advertised(node, now))
        for event in announcements.closing(before, NodeView(node, Liveness(online=True)), now):
            tx.journal.append(event)
        epoch = tx.open_session(node.id)
        return Admission(node_of(tx, node.id), epoch, tx.history_id(), tx.revision())


def _greeted(node: Node, greeting: Greeting, now: datetime) -> Node:
    return replace(
        node,
        installation_id=greeting.installation_id,
        boot_id=greeting.boot_id,
        machine_id_hash=node.machine_id_hash or greeting.machine_id_hash,
        agent_version=greeting.agent_version,
        agent_pid=greeting.agent_pid,
        inventory=greeting.inventory,
        last_contact_time=now,
    )


def _facts(node: Node) -> tuple[object, ...]:
    return node.installation_id, node.boot_id, node.agent_version, node.inventory
