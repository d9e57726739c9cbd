from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

from control_plane.domain.grid import Cell, Grid, Key, Placed, RuntimeTraffic
from control_plane.domain.grid_cells import cell, figures, key_of
from control_plane.domain.ids import NodeId, instance_name
from control_plane.domain.matrix import ttl_seconds
from control_plane.domain.node import Standing
from control_plane.domain.runtime import Runtime
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.ports import Clock, Fleet
from control_plane.use_cases.views import runtime_view

T = TypeVar("T")
AT_ONCE = 200
"""Runtimes looked at, and cells made, before the loop gets its turn."""


class InstanceTraffic(Protocol):
    """What the gateway measured lately, by instance."""

    def of_instance(self, instance: str) -> RuntimeTraffic:
        """`instance`: nodes/{node}/instances/{runtime}. Zeros when nothing went through it."""


@dataclass(frozen=True, slots=True)
class GetGrid:
    """How every combination of model, hardware and sandbox does that is in use."""

    mirror: Mirror
    fleet: Fleet
    clock: Clock
    traffic: InstanceTraffic
    window: timedelta
    """Of this traffic."""
    heartbeat: timedelta

    async def __call__(self) -> Grid:
        await self.mirror.look()
        by_key: dict[Key, list[Placed]] = {}
        async for seen in self._seen():
            by_key.setdefault(key_of(seen.view, seen.node), []).append(seen)
        cells: list[Cell] = []
        for keys in _batches(sorted(by_key, key=_order)):
            cells += (cell(key, by_key[key], self.window) for key in keys)
            await asyncio.sleep(0)
        by_label = _by_label(by_key)
        return Grid(
            cells=tuple(cells),
            by_accelerator={label: figures(by_label[label], self.window) for label in sorted(by_label)},
            window=self.window,
            ttl_seconds=ttl_seconds(self.heartbeat),
            update_time=self.clock.now(),
        )

    async def _seen(self) -> AsyncIterator[Placed]:
        for some in _batches(tuple(self._placed())):
            for node, runtime in some:
                traffic = self.traffic.of_instance(instance_name(node, runtime.id))
                yield Placed(node, runtime_view(runtime, self.fleet), traffic)
            await asyncio.sleep(0)

    def _placed(self) -> Iterator[tuple[NodeId, Runtime]]:
        for node in self.mirror.nodes.values():
            if node.standing is not Standing.REVOKED:
                yield from ((node.id, runtime) for runtime in self.mirror.placed(node.id))


def _batches(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    return (rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE))


def _by_label(by_key: Mapping[Key, Sequence[Placed]]) -> Mapping[str, Sequence[Placed]]:
    groups: dict[str, list[Placed]] = {}
    for key, placed in by_key.items():
        groups.setdefault(key.accelerator.label, []).extend(placed)
    return groups


def _order(key: Key) -> tuple[str, ...]:
    return key.model, key.node, key.accelerator, key.sandbox
