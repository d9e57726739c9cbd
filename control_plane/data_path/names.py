from __future__ import annotations

from collections.abc import Collection

from control_plane.domain.ids import RuntimeId


class Names:
    """Which runtimes go by a name that several may share."""

    def __init__(self) -> None:
        self._name: dict[RuntimeId, str] = {}
        self._named: dict[str, set[RuntimeId]] = {}

    def call(self, runtime: RuntimeId, name: str) -> None:
        """It has this one name from now on; an empty one is none."""
        before = self._name.pop(runtime, "")
        if before:
            self._named[before].discard(runtime)
        if name:
            self._name[runtime] = name
            self._named.setdefault(name, set()).add(runtime)

    def named(self, name: str) -> Collection[RuntimeId]:
        return self._named.get(name, ())
