from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from control_plane.use_cases.ports import Fleet, Store


@dataclass(frozen=True, slots=True)
class StateBell:
    """Rings whenever a read model may say something else."""

    store: Store
    fleet: Fleet

    def on_ring(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` on the loop. Returns how to stop."""
        stops = (
            self.store.on_change(lambda _: listener()),
            self.fleet.on_node(lambda _: listener()),
            self.fleet.on_instance(lambda *_: listener()),
        )

        def stop() -> None:
            for one in stops:
                one()

        return stop
