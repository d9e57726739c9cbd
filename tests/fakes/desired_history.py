"""Desired state of a small fleet by revision, as a control plane's database keeps it, and the ways to get it wrong."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

from control_plane.domain.desired import DesiredRow, digest
from control_plane.domain.ids import NodeId
from control_plane.sessions.desired_feed import DesiredPage, Wanted
from tests.fakes.store_rows import placed

HISTORY = "history-1"


@dataclass(slots=True)
class DesiredHistory:
    """Runtimes, each on one node, with tombstones and a compaction floor."""

    tombstone_on_move: bool = True
    """False: a mistake that leaves a moved runtime on its old node."""
    compaction_floor: bool = True
    """False: a mistake that forgets how far back history still reaches."""
    revision: int = 0
    compacted: int = 0
    places: dict[str, str] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    rows: dict[str, DesiredRow] = field(default_factory=dict)

    def put(self, runtime: str, node: str) -> None:
        """Declare a runtime, change it, or move it: one revision whatever it does."""
        self.revision += 1
        before = self.places.get(runtime)
        if before not in (None, node):
            self._take_from(runtime, str(before))
        self.generations[runtime] = self.generations.get(runtime, 0) + 1
        self.places[runtime] = node
        row = DesiredRow(NodeId(node), _name(runtime, node), self.revision, self.generations[runtime], placed(runtime))
        self.rows[row.name] = row

    def delete(self, runtime: str) -> None:
        self.revision += 1
        self._bury(_name(runtime, self.places.pop(runtime)))

    def compact(self) -> None:
        """Forget every tombstone."""
        self.rows = {name: row for name, row in self.rows.items() if row.content is not None}
        if self.compaction_floor:
            self.compacted = self.revision

    def live(self, node: str) -> tuple[DesiredRow, ...]:
        return tuple(row for row in self._of(node) if row.content is not None)

    def digest(self, node: str) -> bytes:
        return digest((row.name, row.generation, row.revision) for row in self.live(node))

    def page(self, node: str, wanted: Wanted) -> DesiredPage:
        since = sorted((row for row in self._of(node) if row.revision > wanted.since), key=lambda row: row.revision)
        live = self.live(node) if wanted.whole else None
        return DesiredPage(HISTORY, self.revision, self.compacted, tuple(since), live)

    def replica(self) -> DesiredHistory:
        """What another process has read so far."""
        return copy.deepcopy(self)

    def _take_from(self, runtime: str, node: str) -> None:
        if self.tombstone_on_move:
            self._bury(_name(runtime, node))
        else:
            del self.rows[_name(runtime, node)]

    def _bury(self, name: str) -> None:
        self.rows[name] = replace(self.rows[name], revision=self.revision, content=None)

    def _of(self, node: str) -> list[DesiredRow]:
        return [row for row in self.rows.values() if row.node == node]


def _name(runtime: str, node: str) -> str:
    return f"nodes/{node}/instances/{runtime}"
