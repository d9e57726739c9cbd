"""The seams of the agent: who owns what, and what each promises the others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from node_agent.domain.inventory import Inventory
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


class Supervisor(Doors, Protocol):
    """Makes desired state so, and says what is."""

    async def run(self) -> None:
        """Adopt what runs, then reconcile until cancelled. Cancelling leaves every engine running."""

    def desire(self, specs: Sequence[InstanceSpec], spared: Collection[InstanceName] = ()) -> None:
        """The whole desired set, after each stored change. Returns at once. What is `spared` is left as it is."""

    async def adopted(self) -> None:
        """Returns once all that an earlier agent left was looked at: from then on `statuses` tell what is."""

    def left_running(self) -> Collection[InstanceName]:
        """What an earlier agent left running and nobody has taken over yet."""

    async def admit(self, spec: InstanceSpec) -> Problem | None:
        """Check quickly, before a spec is stored; None when it may be.

        Adapter, trusted engine, model file there with the right size and magic; digests are checked at launch.
        """

    def statuses(self) -> Sequence[InstanceStatus]:
        """Every instance of this node."""

    def on_status(self, listener: Callable[[InstanceStatus], None]) -> None:
        """Called on the loop after each change of a status."""

    def on_gone(self, listener: Callable[[InstanceName], None]) -> None:
        """Called on the loop after an instance was stopped and its directory removed."""

    def before_stop(self, hook: Callable[[InstanceName], Awaitable[None]]) -> None:
        """Awaited before an engine is signalled: the relay closes its upstream connections there."""


class Digests(Protocol):
    """SHA-256 of files, remembered for as long as size, times and inode stay. Blocks: call it in a thread."""

    def sha256(self, path: str) -> str:
        """Lower-case hex; OSError when the file cannot be read."""


class Hardware(Protocol):
    """What the machine has. Probes run in short-lived children; a hanging driver costs a deadline, nothing more."""

    async def inventory(self) -> Inventory: ...
