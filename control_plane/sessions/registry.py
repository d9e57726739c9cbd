"""Which stream speaks for which node."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from control_plane.domain.ids import NodeId
from control_plane.use_cases.rows import superseded
from wire.refusal import Refusal


class Stream(Protocol):
    """One open stream of a node."""

    @property
    def node(self) -> NodeId: ...

    @property
    def epoch(self) -> int:
        """0 until it is admitted."""

    @property
    def process_id(self) -> str: ...

    def end(self, refusal: Refusal) -> None: ...


S = TypeVar("S", bound=Stream)


@dataclass(frozen=True, slots=True)
class _Newer:
    """A session that is open, for all that is known, at another replica."""

    epoch: int = 0
    ousted: str | None = None
    """The process whose stream ended here for it, or for one before it."""


@dataclass(frozen=True, slots=True)
class FlapRules:
    supersedes: int = 3
    """By another process, within the window: then two agents share one identity."""
    window: timedelta = timedelta(seconds=60)


class Registry(Generic[S]):
    """Open streams, and the one seat that each node has. The newest epoch holds it, here or at another replica.

    Only touched on the loop.
    """

    def __init__(self, rules: FlapRules) -> None:
        self._rules = rules
        self._open: set[S] = set()
        self._seats: dict[NodeId, S] = {}
        self._newer: dict[NodeId, _Newer] = {}
        self._flaps: dict[NodeId, deque[datetime]] = {}

    def opened(self, stream: S) -> None:
        self._open.add(stream)

    def closed(self, stream: S) -> None:
        self._open.discard(stream)
        if self._seats.get(stream.node) is stream:
            del self._seats[stream.node]

    def seat(self, stream: S, now: datetime) -> bool:
        """Let the stream speak for its node and end the one that did before.

        True when the node's identity flaps between processes. SessionSuperseded when a newer one is seated.
        """
        before, newer = self._seats.get(stream.node), self._newer.get(stream.node, _Newer())
        if newer.epoch > stream.epoch or (before is not None and before.epoch > stream.epoch):
            raise superseded(stream.node)
        self._seats[stream.node] = stream
        self._newer.pop(stream.node, None)
        if before is None:
            # Its row told of this very session before it was seated.
            ousted = newer.ousted if newer.epoch == stream.epoch else None
            return self._takes_over(stream.node, ousted, stream.process_id, now)
        if before is stream:
            return False
        before.end(superseded(stream.node))
        return self._takes_over(stream.node, before.process_id, stream.process_id, now)

    def oust(self, node: NodeId, epoch: int) -> None:
        """The node has opened a session of this epoch, anywhere: end the older stream that speaks for it here."""
        before, newer = self._seats.get(node), self._newer.get(node, _Newer())
        if epoch <= newer.epoch or (before is not None and epoch <= before.epoch):
            return
        self._newer[node] = _Newer(epoch, before.process_id if before is not None else newer.ousted)
        if before is not None:
            del self._seats[node]
            before.end(superseded(node))

    def overtaken(self, node: NodeId, epoch: int, process_id: str, now: datetime) -> bool:
        """As `oust`, by this process at another replica; True when the node's identity flaps between processes."""
        self.oust(node, epoch)
        newer = self._newer.get(node, _Newer())
        if newer.epoch != epoch:
            return False
        self._newer[node] = _Newer(epoch)
        return self._takes_over(node, newer.ousted, process_id, now)

    def at(self, node: NodeId) -> S | None:
        """The stream that speaks for the node."""
        return self._seats.get(node)

    def is_seated(self, stream: S) -> bool:
        return self._seats.get(stream.node) is stream

    def cut(self, node: NodeId, refusal: Refusal) -> None:
        """End every stream of the node, admitted or not."""
        for stream in [stream for stream in self._open if stream.node == node]:
            stream.end(refusal)

    def __iter__(self) -> Iterator[S]:
        return iter(tuple(self._open))

    def __len__(self) -> int:
        return len(self._open)

    def _takes_over(self, node: NodeId, before: str | None, process_id: str, now: datetime) -> bool:
        return before not in (None, process_id) and self._flapped(node, now)

    def _flapped(self, node: NodeId, now: datetime) -> bool:
        flaps = self._flaps.setdefault(node, deque(maxlen=self._rules.supersedes))
        flaps.append(now)
        if len(flaps) < self._rules.supersedes or now - flaps[0] > self._rules.window:
            return False
        del self._flaps[node]
        return True
