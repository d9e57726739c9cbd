from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain

from control_plane.domain.footprint import Footprints
from control_plane.domain.ids import NodeId
from control_plane.domain.labels import unmatched
from control_plane.domain.node import Standing
from control_plane.domain.node_view import NodeView
from control_plane.domain.steps import Steps


class Candidates:
    """Nodes that something may be placed on, found by their labels without looking at all of them each time."""

    def __init__(self, nodes: Mapping[NodeId, NodeView]) -> None:
        self._nodes = nodes
        self._unseen: Iterable[NodeId] = nodes

    def __len__(self) -> int:
        return len(self._nodes)

    @cached_property
    def footprints(self) -> Footprints:
        """What launches took on any of them, of which each view tells the same."""
        return next((view.footprints for view in self._nodes.values()), {})

    def get(self, node: NodeId) -> NodeView | None:
        view = self._nodes.get(node)
        return view if view is not None and _may_return(view) else None

    def looked_at(self) -> Steps[None]:
        """What may be made only when it is asked for is made, so that `matching` need not; once is enough."""
        for node in self._unseen:
            self._nodes.get(node)
            yield
        self._unseen = ()

    def matching(self, selector: Mapping[str, str]) -> Sequence[NodeView]:
        """Those that have every label of `selector`."""
        if not selector:
            return self._all
        rarest = min((self._labelled.get(pair, ()) for pair in selector.items()), key=len)
        return [view for view in rarest if not unmatched(selector, view.node.labels)]

    def around(self, start: int, first: Iterable[NodeId]) -> Iterator[NodeView]:
        """All of them, each looked at when it is its turn: `first` those, then on from the `start`-th in id order."""
        favoured = dict.fromkeys(node for node in sorted(first) if node in self._nodes)
        begin = start % max(1, len(self._nodes))
        rest = (node for node in (*self._ordered[begin:], *self._ordered[:begin]) if node not in favoured)
        return (view for node in chain(favoured, rest) if (view := self.get(node)) is not None)

    @cached_property
    def _ordered(self) -> Sequence[NodeId]:
        return sorted(self._nodes)

    @cached_property
    def _all(self) -> Sequence[NodeView]:
        return [view for view in self._nodes.values() if _may_return(view)]

    @cached_property
    def _labelled(self) -> Mapping[tuple[str, str], Sequence[NodeView]]:
        found: dict[tuple[str, str], list[NodeView]] = {}
        for view in self._all:
            for pair in view.node.labels.items():
                found.setdefault(pair, []).append(view)
        return found


def _may_return(view: NodeView) -> bool:
    return view.node.standing is not Standing.REVOKED
