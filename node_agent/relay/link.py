"""Keeps connections parked at every replica of the control plane."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection, Sequence

from node_agent.domain.progress import Traffic
from node_agent.domain.spec import Hold, InstanceName
from node_agent.relay.engines import Engines
from node_agent.relay.parking import Outfit, ParkingLot, Replica
from node_agent.use_cases.ports import Doors

_OVERLAP_SECONDS = 1.0
"""A replica may hear of a session at another a moment later; until then it goes on with the last one's connections."""

_Place = tuple[str, str]


class RelayLink:
    def __init__(self, doors: Doors, node_id: str, tls: Callable[[], ssl.SSLContext]) -> None:
        """`tls` gives the context for the next connection, with the certificate that is valid then."""
        self._engines = Engines()
        self._outfit = Outfit(node_id, doors, self._engines, tls)
        self._wanted: tuple[int, tuple[Replica, ...], int] = (0, (), 0)
        self._lots: dict[_Place, tuple[ParkingLot, asyncio.Task[None]]] = {}
        self._leaving: dict[ParkingLot, asyncio.TimerHandle] = {}
        self._epoch = 0
        self._changed = asyncio.Event()

    def configure(self, epoch: int, replicas: Sequence[Replica], parked: int) -> None:
        """Park `parked` idle connections at each replica for this session; those of an older one end a moment later."""
        self._wanted = (epoch, tuple(replicas), parked)
        self._changed.set()

    def park(self, idle: int, relay_address: str = "") -> None:
        """A gateway asks for more: the one with this address, or the first one."""
        _, replicas, _ = self._wanted
        asking = [each for each in replicas if each.relay_address == relay_address] if relay_address else replicas[:1]
        for replica in asking:
            if _place(replica) in self._lots:
                self._lots[_place(replica)][0].park(idle)

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
                for lot in tuple(self._leaving):
                    self._retire(lot)

    def traffic(self, name: InstanceName, port: int = 0) -> Traffic | None:
        """What the instance's engine has in hand; None: nothing. `port`: of one of two; 0: of any."""
        return self._engines.traffic(name, port)

    def hand_over(self, name: InstanceName, holds: Collection[Hold]) -> None:
        """End now what came in under a hold that is none of these."""
        self._engines.hand_over(name, holds)

    async def close_instance(self, name: InstanceName, port: int = 0) -> None:
        """Close every connection to the instance's engine: one that is asked to end waits for its clients."""
        await self._engines.close(name, port)

    def _rearrange(self, tasks: asyncio.TaskGroup) -> None:
        epoch, replicas, parked = self._wanted
        places = {_place(replica): replica for replica in replicas}
        self._leave(tuple(self._lots.keys() - places.keys()))
        if epoch != self._epoch:
            self._leave(tuple(self._lots), _OVERLAP_SECONDS)
        self._epoch = epoch
        for place, replica in places.items():
            if place in self._lots:
                self._lots[place][0].rebase(parked)
            elif any(place):
                lot = ParkingLot(replica, epoch, parked, self._outfit)
                self._lots[place] = (lot, tasks.create_task(lot.run()))

    def _leave(self, places: Sequence[_Place], after: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        for place in places:
            lot, task = self._lots.pop(place)
            task.cancel()
            self._leaving[lot] = loop.call_later(after, self._retire, lot)

    def _retire(self, lot: ParkingLot) -> None:
        self._leaving.pop(lot).cancel()
        lot.retire()


def _place(replica: Replica) -> _Place:
    return replica.relay_address, replica.relay_unix_path
