"""Which runtimes a project's requests for a name may go to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.execution import ExecutionMode
from control_plane.domain.ids import NodeId, RuntimeId, checked
from control_plane.domain.profile import PROFILE_NAME
from control_plane.domain.runtime import Runtime
from control_plane.domain.view import RuntimeView

MAX_ASKED = 256
_ADAPTER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Combination:
    """What is not said is left open."""

    runtime: RuntimeId | None = None
    adapter: str = ""
    node: NodeId | None = None
    accelerator: AcceleratorKind = AcceleratorKind.UNSPECIFIED
    execution_mode: ExecutionMode = ExecutionMode.UNSPECIFIED
    profile: str = ""

    @property
    def said(self) -> Mapping[str, str]:
        """What it says, by name, for a person."""
        words = {
            "runtime": self.runtime or "",
            "node": self.node or "",
            "adapter": self.adapter,
            "accelerator": self.accelerator.value,
            "execution mode": self.execution_mode.value,
            "profile": self.profile,
        }
        return {name: word for name, word in words.items() if word}

    def __str__(self) -> str:
        return ", ".join(f"{name} {word}" for name, word in self.said.items())

    def fits(self, view: RuntimeView) -> bool:
        """Whether the runtime is so: as it runs, and until it first started as it is declared."""
        runtime = view.runtime
        return (
            self.runtime in (None, runtime.id, runtime.replica_of)
            and self.adapter in ("", runtime.spec.adapter)
            and self.node in (None, runtime.node)
            and self.accelerator in (AcceleratorKind.UNSPECIFIED, _accelerator(view))
            and self.execution_mode in (ExecutionMode.UNSPECIFIED, _mode(view))
            and self.profile in ("", runtime.spec.profile)
        )


@dataclass(frozen=True, slots=True)
class Pin:
    asked: str
    """As requests say it: a runtime's id or display name, or a model's id."""
    combination: Combination
    fallback: bool = False
    """Others that go by this name may serve while none that fits does."""


def check_pin(pin: Pin) -> None:
    """InvalidArgument, InvalidId."""
    combination = pin.combination
    if not pin.asked or len(pin.asked) > MAX_ASKED or not pin.asked.isprintable():
        raise InvalidArgument(
            "The name of the pin is refused.",
            f"Say 1 to {MAX_ASKED} printable characters: a runtime's id or display name, or a model's id.",
        )
    if not combination.said:
        raise InvalidArgument(
            f"The pin of {pin.asked!r} holds to nothing.",
            "Say a runtime, node, adapter, accelerator, execution mode or profile.",
        )
    if combination.adapter and not _ADAPTER.fullmatch(combination.adapter):
        raise InvalidArgument(f"{combination.adapter[:64]!r} is no adapter.", "See: arwctl runtime adapters list.")
    if combination.profile and not PROFILE_NAME.fullmatch(combination.profile):
        raise InvalidArgument(f"{combination.profile[:64]!r} is no profile.", "See: arwctl runtime profile list.")
    if combination.runtime:
        checked(combination.runtime, "runtime")
    if combination.node:
        checked(combination.node, "node")


class Declared:
    """Runtimes by the names that they go by: an id wins over a display name, and that over a model's id."""

    def __init__(self, views: Iterable[RuntimeView]) -> None:
        self._ids: dict[str, list[RuntimeView]] = {}
        self._titles: dict[str, list[RuntimeView]] = {}
        self._models: dict[str, list[RuntimeView]] = {}
        for view in views:
            for table, name in self._names(view.runtime):
                table.setdefault(name, []).append(view)

    def fitting(self, pin: Pin) -> tuple[RuntimeId, ...]:
        """Those that requests are held to by the pin, in id order."""
        name = pin.asked
        named = self._ids.get(name) or self._titles.get(name) or self._models.get(name, [])
        return tuple(sorted(view.runtime.id for view in named if pin.combination.fits(view)))

    def _names(self, runtime: Runtime) -> Iterator[tuple[dict[str, list[RuntimeView]], str]]:
        yield self._ids, runtime.id
        if runtime.replica_of is not None:
            yield self._ids, runtime.replica_of
        yield self._titles, runtime.spec.display_name
        yield self._models, runtime.spec.model


def _accelerator(view: RuntimeView) -> AcceleratorKind:
    used = view.instance.accelerator if view.instance is not None else AcceleratorKind.UNSPECIFIED
    return used if used is not AcceleratorKind.UNSPECIFIED else view.runtime.spec.accelerator


def _mode(view: RuntimeView) -> ExecutionMode:
    used = view.instance.execution_mode if view.instance is not None else ExecutionMode.UNSPECIFIED
    possible = view.runtime.spec.execution.possible
    declared = possible[0] if len(possible) == 1 else ExecutionMode.UNSPECIFIED
    return used if used is not ExecutionMode.UNSPECIFIED else declared
