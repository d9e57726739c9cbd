"""For whoever starts no engines, or knows nothing of devices: nothing is learnt and nothing is claimed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

from node_agent.domain.device_memory import Leaks
from node_agent.domain.device_trouble import DeviceUse, Trouble
from node_agent.domain.footprint import Footprint, FootprintKey
from node_agent.domain.spec import InstanceName


class NoDeviceMemory:
    """Implements DeviceMemory."""

    def look(self, instance: InstanceName, belongs: Callable[[int], bool]) -> None:
        """It holds nothing that is known."""

    def survives(self, instance: InstanceName) -> None:
        """What it holds is not known."""

    def ended(self, instance: InstanceName) -> None:
        """Nothing is waited for."""

    def held(self, instance: InstanceName) -> int | None:
        del instance
        return None

    def leaks(self) -> Leaks:
        return {}


class NoDeviceTroubles:
    """Implements DeviceTroubles."""

    def attended(
        self, instance: InstanceName, use: DeviceUse, tell: Callable[[Trouble | None], None]
    ) -> AbstractContextManager[None]:
        del instance, use, tell
        return nullcontext()

    def any_broken(self) -> bool:
        return False


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
