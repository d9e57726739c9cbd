"""What the gateway measured lately, by node and by runtime."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus

from control_plane.domain.grid import RuntimeTraffic
from control_plane.domain.ids import NodeId
from control_plane.domain.matrix import HttpFigures
from control_plane.use_cases.ports import Clock
from gateway.ports import Exchange

WINDOW = timedelta(minutes=5)
_BUCKET = timedelta(seconds=10)


@dataclass(slots=True)
class _Bucket:
    """Sums of one stretch of time."""

    since: datetime
    hits: int = 0
    errors: int = 0
    engine_errors: int = 0
    first_byte_ms: float = 0
    first_bytes: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, exchange: Exchange) -> None:
        self.hits += 1
        self.errors += _node_failed(exchange)
        self.engine_errors += _engine_failed(exchange)
        if exchange.first_byte_ms is not None:
            self.first_byte_ms += exchange.first_byte_ms
            self.first_bytes += 1
        if exchange.tokens is not None:
            self.prompt_tokens += exchange.tokens.prompt
            self.completion_tokens += exchange.tokens.completion


@dataclass(slots=True)
class _Sliding:
    buckets: deque[_Bucket] = field(default_factory=deque)

    def add(self, exchange: Exchange, now: datetime) -> None:
        if not self.buckets or now - self.buckets[-1].since >= _BUCKET:
            self.forget(now)
            self.buckets.append(_Bucket(now))
        self.buckets[-1].add(exchange)

    def forget(self, now: datetime) -> None:
        while self.buckets and now - self.buckets[0].since >= WINDOW:
            self.buckets.popleft()


class TrafficMeter:
    """The gateway's meter, and the matrix's source of HTTP figures. Counts fade after the window."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._nodes: dict[str, _Sliding] = {}
        self._instances: dict[str, _Sliding] = {}

    def record(self, exchange: Exchange) -> None:
        now = self._clock.now()
        self._nodes.setdefault(exchange.route.node, _Sliding()).add(exchange, now)
        self._instances.setdefault(exchange.route.instance, _Sliding()).add(exchange, now)

    def window(self, node: NodeId) -> HttpFigures:
        buckets = _lately(self._nodes, node, self._clock.now())
        heard = sum(bucket.first_bytes for bucket in buckets)
        mean = sum(bucket.first_byte_ms for bucket in buckets) / heard if heard else None
        return HttpFigures(
            WINDOW,
            hits=sum(bucket.hits for bucket in buckets),
            errors=sum(bucket.errors for bucket in buckets),
            mean_first_byte_ms=mean,
            engine_errors=sum(bucket.engine_errors for bucket in buckets),
        )

    def measured(self) -> dict[NodeId, HttpFigures]:
        """Of the nodes that answered lately."""
        windows = {NodeId(node): self.window(NodeId(node)) for node in tuple(self._nodes)}
        return {node: figures for node, figures in windows.items() if figures.hits}

    def of_instance(self, instance: str) -> RuntimeTraffic:
        """`instance`: nodes/{node}/instances/{runtime}."""
        buckets = _lately(self._instances, instance, self._clock.now())
        return RuntimeTraffic(
            hits=sum(bucket.hits for bucket in buckets),
            errors=sum(bucket.errors for bucket in buckets),
            engine_errors=sum(bucket.engine_errors for bucket in buckets),
            prompt_tokens=sum(bucket.prompt_tokens for bucket in buckets),
            completion_tokens=sum(bucket.completion_tokens for bucket in buckets),
        )


def _lately(table: dict[str, _Sliding], key: str, now: datetime) -> deque[_Bucket]:
    sliding = table.get(key)
    if sliding is None:
        return deque()
    sliding.forget(now)
    if not sliding.buckets:
        del table[key]
    return sliding.buckets


def _node_failed(exchange: Exchange) -> bool:
    """No whole answer of an engine came through, and it was not the client that left."""
    broke = not exchange.complete
    return not exchange.abandoned and (broke or (exchange.refused_by_node and _is_error(exchange)))


def _engine_failed(exchange: Exchange) -> bool:
    """It says so itself, in an answer of its own; whoever carried the answer did well."""
    return exchange.complete and not exchange.refused_by_node and _is_error(exchange)


def _is_error(exchange: Exchange) -> bool:
    """That an engine cannot do a thing at all (501) is a refusal, like a 400."""
    return exchange.status >= HTTPStatus.INTERNAL_SERVER_ERROR and exchange.status != HTTPStatus.NOT_IMPLEMENTED
