"""The seams of the agent: who owns what, and what each promises the others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from node_agent.domain.device_memory import Leaks
from node_agent.domain.device_trouble import DeviceUse, Trouble
from node_agent.domain.footprint import Footprint, FootprintKey
from node_agent.domain.inventory import Inventory, NodeUsage
from node_agent.domain.progress import Traffic
from node_agent.domain.spec import Hold, InstanceName, InstanceSpec
from node_agent.domain.status import InstanceStatus, Problem


@dataclass(frozen=True, slots=True)
class HeldInstance:
    """Removed, but it runs on until a person had time to step in."""

    name: InstanceName
    until: float
    """Seconds of this boot's clock."""
    boot_id: str
    spec: InstanceSpec | None
    """None: it was found running, and what it was made from is lost."""


@dataclass(frozen=True, slots=True)
class DesiredSnapshot:
    """What is stored of desired state. `revision` counts only within `history_id`."""

    history_id: str = ""
    revision: int = 0
    specs: tuple[InstanceSpec, ...] = ()
    held: tuple[HeldInstance, ...] = ()
    outdated: bool = False
    """More was acted on here than this says: an older store was put back beside engines that ran on."""


class DesiredStore(Protocol):
    """Desired state on disk. A change is durable when the call returns; StorageUnavailable otherwise."""

    def load(self) -> DesiredSnapshot: ...

    def apply(
        self,
        history_id: str,
        revision: int | None,
        changed: Sequence[InstanceSpec],
        removed: Sequence[InstanceName],
        held: Sequence[HeldInstance] = (),
    ) -> None:
        """Store specs and removals in one transaction. `revision` None: a chunk that is not the last.

        `held` is everything that is held from now on.
        """


@dataclass(frozen=True, slots=True)
class EngineDoor:
    """Where a serving engine listens, and who may pass."""

    host: str
    port: int
    api_key: str
    holds: frozenset[Hold]
    model: str = ""
    """What the engine calls the model, put in the place of our name; empty: it knows ours."""


class Doors(Protocol):
    """Finds the engine of an instance. Never blocks."""

    def door(self, instance: InstanceName) -> EngineDoor | None:
        """None: it does not serve now."""


@dataclass(frozen=True, slots=True)
class LogChunk:
    incarnation: int
    data: bytes
    dropped_bytes: int = 0


class Logs(Protocol):
    """Reads engine logs."""

    def read(self, instance: InstanceName, tail_lines: int, follow: bool) -> AsyncIterator[LogChunk]:
        """The last lines, then, with `follow`, what is written until the caller stops. Chunks of at most 64 KiB."""

    def whole(self, instance: InstanceName) -> AsyncIterator[LogChunk]:
        """All that is kept of every launch, oldest first. Chunks of at most 64 KiB."""


StopHook = Callable[[InstanceName, int], Awaitable[None]]
"""Given an instance and the port of one of its engines, for while it has two; 0: of all."""
Carrier = Callable[[InstanceName, int], Traffic | None]
"""Asked like a StopHook. None: nothing is in hand there."""


class Supervisor(Doors, Protocol):
    """Makes desired state so, and says what is."""

    async def run(self) -> None:
        """Adopt what runs, then reconcile until cancelled. Cancelling leaves every engine running."""

    def desire(self, specs: Sequence[InstanceSpec], held: Collection[InstanceName] = ()) -> None:
        """The whole desired set, after each stored change. Returns at once.

        `held` were removed and run on for now, and say so: with their spec where it is given, else left as they are.
        """

    async def adopted(self) -> None:
        """Returns once all that an earlier agent left was looked at: from then on `statuses` tell what is."""

    def left_running(self) -> Collection[InstanceName]:
        """What an earlier agent left running and nobody has taken over yet."""

    async def admit(self, spec: InstanceSpec) -> Problem | None:
        """Check quickly, before a spec is stored; None when it may be.

        Adapter, trusted engine, model file there with the right size and magic; digests are checked at launch.
        """

    def probe(self, instance: InstanceName, request: str) -> None:
        """Ask its engine now how it is, if one serves; then its status names the request. Returns at once."""

    def statuses(self) -> Sequence[InstanceStatus]:
        """Every instance of this node."""

    def on_status(self, listener: Callable[[InstanceStatus], None]) -> None:
        """Called on the loop after each change of a status."""

    def on_gone(self, listener: Callable[[InstanceName], None]) -> None:
        """Called on the loop after an instance was stopped and its directory removed."""

    def before_stop(self, hook: StopHook) -> None:
        """Awaited before an engine is signalled: the relay closes its upstream connections there."""

    def ask_for_traffic(self, carrier: Carrier) -> None:
        """Who brings requests to engines; one that takes them and gives nothing back is started again."""


class DeviceMemory(Protocol):
    """Sees that devices get their memory back from engines that ended. Never blocks."""

    def look(self, instance: InstanceName, belongs: Callable[[int], bool]) -> None:
        """Note what the instance's processes hold now; for each look while it runs."""

    def survives(self, instance: InstanceName) -> None:
        """It cannot be ended: nothing new may use what it held at the last look, until it ended."""

    def ended(self, instance: InstanceName) -> None:
        """None of its processes is left."""

    def held(self, instance: InstanceName) -> int | None:
        """Bytes, as of the last look; None: not known."""

    def leaks(self) -> Leaks:
        """Devices that wait for memory in vain; nothing new may use them."""


class DeviceTroubles(Protocol):
    """Knows of devices that fail or are held back while engines run on them. Never blocks."""

    def attended(
        self, instance: InstanceName, use: DeviceUse, tell: Callable[[Trouble | None], None]
    ) -> AbstractContextManager[None]:
        """Call `tell` on the loop when trouble of its devices begins, changes or is over, while the block lasts."""

    def any_broken(self) -> bool:
        """A device worked, and nothing can run on it any more."""


class Footprints(Protocol):
    """What launches took, kept on this node; the ones used last."""

    def of(self, key: FootprintKey) -> Footprint | None: ...

    def slowest_load(self, key: FootprintKey) -> timedelta | None:
        """Whatever accelerator it was loaded to; None: it was never seen to load."""

    def keep(self, footprint: Footprint) -> None:
        """In place of what was known. Blocks: call it in a thread."""


class Digests(Protocol):
    """SHA-256 of files, remembered for as long as size, times and inode stay. Blocks: call it in a thread."""

    def sha256(self, path: str) -> str:
        """Lower-case hex; OSError when the file cannot be read."""

    def read_speed(self, path: str) -> int | None:
        """Bytes per second that the storage of this file gave lately, at its slowest; None: not known."""


class Hardware(Protocol):
    """The machine as last looked at."""

    async def inventory(self) -> Inventory: ...

    def usage(self) -> NodeUsage | None:
        """What the devices do now; None when that is not known. Never blocks."""

    def on_change(self, listener: Callable[[Inventory], None]) -> None:
        """Called on the loop when the machine is another than it was."""
