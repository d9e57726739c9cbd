from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVarTuple, Unpack

Told = TypeVarTuple("Told")


@dataclass(slots=True)
class Listeners(Generic[*Told]):
    calls: list[Callable[[Unpack[Told]], None]] = field(default_factory=list)

    def add(self, listener: Callable[[Unpack[Told]], None]) -> Callable[[], None]:
        self.calls.append(listener)
        return lambda: self.calls.remove(listener)

    def tell(self, *what: *Told) -> None:
        for call in tuple(self.calls):
            call(*what)
