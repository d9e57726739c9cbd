from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from wire.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason with words for a person; `reason` is a name of arw.v1.Reason without its prefix."""

    reason: str
    text: str
    remedy: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, refusal: Refusal) -> Self:
        return cls(refusal.reason, refusal.text, refusal.remedy, dict(refusal.metadata))
