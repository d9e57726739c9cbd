"""For whoever starts no engines, or knows nothing of devices: nothing is learnt and nothing is claimed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from node_agent.domain.device_memory import Leaks
from node_agent.domain.footprint import Footprint, FootprintKey
from node_agent.domain.spec import InstanceName


class NoDeviceMemory:
    """Implements DeviceMemory."""

    def look(self, instance: InstanceName, belongs: Callable[[int], bool]) -> None:
        """It holds nothing that is known."""

    def ended(self, instance: InstanceName) -> None:
        """Nothing is waited for."""

    def held(self, instance: InstanceName) -> int | None:
        del instance
        return None

    def leaks(self) -> Leaks:
        return {}


class NoFootprints:
    """Implements Footprints."""

    def of(self, key: FootprintKey) -> Footprint | None:
        del key
        return None

    def slowest_load(self, key: FootprintKey) -> timedelta | None:
        del key
        return None

    def keep(self, footprint: Footprint) -> None:
        """It is forgotten."""
