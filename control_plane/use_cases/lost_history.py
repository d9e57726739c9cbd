"""What follows when the database turns out to lack what was handed out from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from control_plane.domain.event import Event
from control_plane.domain.ids import NodeId
from control_plane.domain.node import Standing
from control_plane.use_cases.ports import Transaction

HISTORY_CHANGED = "cluster.history.changed"
WITNESSES = 2
JUMP = 1_000_000
"""More than a database can have handed out in what it lost."""


@dataclass(slots=True)
class Testimony:
    """Whether it counts what nodes say: that more was handed out than the database knows of.

    Two have to say so, unless there is only one: a machine of somebody else's must not stop everybody's changes by its
    word alone. And only of the history that was found at first: of one that began later everything that was handed
    out is known here, so nobody can make it begin anew again and again.
    """

    _found: str = ""
    _witnesses: set[NodeId] = field(default_factory=set)

    def counts(self, tx: Transaction, node: NodeId, history_id: str, revision: int) -> bool:
        ahead = revision - tx.revision()
        if ahead <= 0 and self._found:
            return False
        now = tx.history_id()
        self._found = self._found or now
        if not (0 < ahead < JUMP and history_id == self._found == now):
            return False
        self._witnesses.add(node)
        admitted = sum(row.standing is Standing.ADMITTED for row in tx.nodes.all())
        return len(self._witnesses) >= min(WITNESSES, admitted)


def begin_anew(tx: Transaction, revision: int, now: datetime, node: NodeId | None = None) -> None:
    """First in its transaction. `revision` was handed out; `node` is who has it, None for a control plane itself."""
    before, found = tx.history_id(), tx.revision()
    history = tx.begin_history()
    event = history_changed(history, before, now, revision=found, known_revision=revision, node=node)
    tx.journal.append(event)


def history_changed(
    history: str, previous: str, now: datetime, *, revision: int, known_revision: int, node: str | None
) -> Event:
    who = f"node {node}" if node else "a control plane"
    payload = {
        "history": history,
        "previous_history": previous,
        "revision": revision,
        "known_revision": known_revision,
        "node": node or "",
        "text": f"The database lacks its last changes: it came back with revision {revision}, and {who} knows "
        f"{known_revision}. What was handed out in them is not handed out again: history {history} begins.",
        "remedy": "Nodes keep what they run and say HISTORY_CHANGED. Look at what is declared, and declare again what "
        f"is missing; then agree on each of them: arw-node-agent accept-history {history}",
    }
    return Event("cluster.history.changed", "cluster", payload, time=now)
