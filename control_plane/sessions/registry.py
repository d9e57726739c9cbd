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
class FlapRules:
    supersedes: int = 3
    """By another process, within the window: then two agents share one identity."""
    window: timedelta = timedelta(seconds=60)


class Registry(Generic[S]):
    """Open streams, and the one seat that each node has. The newest epoch holds it. Only touched on the loop."""

    def __init__(self, rules: FlapRules) -> None:
        self._rules = rules
        self._open: set[S] = set()
        self._seats: dict[NodeId, S] = {}
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
        before = self._seats.get(stream.node)
        if before is not None and before.epoch > stream.epoch:
            raise superseded(stream.node)
        self._seats[stream.node] = stream
        if before is None or before is stream:
            return False
        before.end(superseded(stream.node))
        return before.process_id != stream.process_id and self._flapped(stream.node, now)

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

    def _flapped(self, node: NodeId, now: datetime) -> bool:
        flaps = self._flaps.setdefault(node, deque(maxlen=self._rules.supersedes))
        flaps.append(now)
        if len(flaps) < self._rules.supersedes or now - flaps[0] > self._rules.window:
            return False
        del self._flaps[node]
        return True
