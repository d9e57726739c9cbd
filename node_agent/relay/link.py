"""Keeps connections parked at every replica of the control plane."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence

from node_agent.domain.progress import Traffic
from node_agent.domain.spec import InstanceName
from node_agent.relay.engines import Engines
from node_agent.relay.parking import Outfit, ParkingLot, Replica
from node_agent.use_cases.ports import Doors

_Place = tuple[str, str]


class RelayLink:
    def __init__(self, doors: Doors, node_id: str, tls: Callable[[], ssl.SSLContext]) -> None:
        """`tls` gives the context for the next connection, with the certificate that is valid then."""
        self._engines = Engines()
        self._outfit = Outfit(node_id, doors, self._engines, tls)
        self._wanted: tuple[int, tuple[Replica, ...], int] = (0, (), 0)
        self._lots: dict[_Place, tuple[ParkingLot, asyncio.Task[None]]] = {}
        self._epoch = 0
        self._changed = asyncio.Event()

    def configure(self, epoch: int, replicas: Sequence[Replica], parked: int) -> None:
        """Park `parked` idle connections at each replica for this session; connections of an older one end."""
        self._wanted = (epoch, tuple(replicas), parked)
        self._changed.set()

    def park(self, idle: int) -> None:
        """A gateway asks for more."""
        for lot, _ in self._lots.values():
            lot.park(idle)

    async def run(self) -> None:
        """Dial and serve until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._engines.open(tasks.create_task)
            try:
                while True:
                    await self._changed.wait()
                    self._changed.clear()
                    self._rearrange(tasks)
            finally:
                self._leave(tuple(self._lots))

    def traffic(self, name: InstanceName) -> Traffic | None:
        """What the instance's engine has in hand; None: nothing."""
        return self._engines.traffic(name)

    async def close_instance(self, name: InstanceName) -> None:
        """Close every connection to the instance's engine: one that is asked to end waits for its clients."""
        await self._engines.close(name)

    def _rearrange(self, tasks: asyncio.TaskGroup) -> None:
        epoch, replicas, parked = self._wanted
        places = {(replica.relay_address, replica.relay_unix_path): replica for replica in replicas}
        stale = self._lots if epoch != self._epoch else self._lots.keys() - places.keys()
        self._leave(tuple(stale))
        self._epoch = epoch
        for place, replica in places.items():
            if place in self._lots:
                self._lots[place][0].rebase(parked)
            elif any(place):
                lot = ParkingLot(replica, epoch, parked, self._outfit)
                self._lots[place] = (lot, tasks.create_task(lot.run()))

    def _leave(self, places: Sequence[_Place]) -> None:
        for place in places:
            lot, task = self._lots.pop(place)
            task.cancel()
            lot.retire()
