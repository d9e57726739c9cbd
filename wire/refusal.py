"""The root of every refusal that crosses a process boundary, and the status each reason travels with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault
    """A typed no: what happened, and what to do next.

    Subclasses set `reason`, a name of `arw.v1.Reason` without its prefix. `metadata` repeats the dynamic
    parts of the text and never holds a secret.
    """

    reason: ClassVar[str] = "INTERNAL"
    passes_in: timedelta | None = None
    """When to ask again, where the one who refuses knows."""

    def __init__(self, text: str, remedy: str = "", **metadata: str) -> None:
        super().__init__(text)
        self.text = text
        self.remedy = remedy
        self.metadata: Mapping[str, str] = metadata

    @property
    def spoken(self) -> str:
        """As a command line tells it: what happened, then what to do next, a line each."""
        return f"error: {self.text}" + (f"\nnext:  {self.remedy}" if self.remedy else "")

    def __str__(self) -> str:
        return f"{self.text} {self.remedy}".strip()
