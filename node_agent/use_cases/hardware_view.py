"""Hardware as somebody with a say in it shows it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from node_agent.domain.inventory import Inventory, NodeUsage
from node_agent.use_cases.ports import Hardware


class HardwareView(ABC):
    """Itself Hardware, so that views stack."""

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        self._last: Inventory | None = None
        self._listeners: list[Callable[[Inventory], None]] = []
        hardware.on_change(self._changed)

    async def inventory(self) -> Inventory:
        self._last = await self._hardware.inventory()
        return self._shown(self._last)

    def usage(self) -> NodeUsage | None:
        return self._hardware.usage()

    def on_change(self, listener: Callable[[Inventory], None]) -> None:
        self._listeners.append(listener)

    def tell(self) -> None:
        """What this view makes of the machine is another than before."""
        if self._last is None:
            return
        shown = self._shown(self._last)
        for listener in self._listeners:
            listener(shown)

    @abstractmethod
    def _shown(self, inventory: Inventory) -> Inventory: ...

    def _changed(self, inventory: Inventory) -> None:
        self._last = inventory
        self.tell()
