"""What this machine offers, once its owner had a say."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime

from node_agent.domain.device_limits import offered
from node_agent.domain.inventory import ExecutionOffer, Inventory, LocalLimits
from node_agent.domain.limits import Limits, closed
from node_agent.domain.sandbox import SandboxLayer
from node_agent.local_limits.watch import LimitsFile
from node_agent.use_cases.hardware_view import HardwareView
from node_agent.use_cases.ports import Hardware


class LimitedHardware(HardwareView):
    def __init__(
        self,
        hardware: Hardware,
        file: LimitsFile,
        node: str,
        adapters: Collection[str],
        now: Callable[[], datetime],
        *,
        sandbox: Callable[[Limits], tuple[SandboxLayer, ...]],
        execution: Callable[[Limits], tuple[ExecutionOffer, ...]],
    ) -> None:
        """`sandbox`: the layers that the next engine gets within these limits; `execution`: the modes to be had."""
        super().__init__(hardware)
        self._file = file
        self._node = node
        self._adapters = sorted(adapters)
        self._now = now
        self._sandbox = sandbox
        self._execution = execution
        file.on_change(self.tell)

    def _shown(self, inventory: Inventory) -> Inventory:
        limits = self._file.limits()
        devices = tuple(offered(limits, device) for device in inventory.accelerators)
        return replace(
            inventory,
            accelerators=devices,
            limits=self._said(limits),
            sandbox=self._sandbox(limits),
            execution=self._execution(limits),
        )

    def _said(self, limits: Limits) -> LocalLimits:
        return LocalLimits(
            file=limits.file,
            denied_adapters=tuple(name for name in self._adapters if limits.adapters.refusing(name)),
            modes=tuple(sorted(limits.modes)),
            max_runtimes=limits.max_runtimes,
            memory_bytes=limits.memory_bytes,
            memory_per_runtime_bytes=limits.memory_per_runtime_bytes,
            closed=closed(limits, f"nodes/{self._node}", self._now()),
        )
