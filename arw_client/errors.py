"""What a call can raise. Every error says what happened and what to do next.

ArwError
├── ContextError      no context file, or one that cannot be read
├── UnreachableError  no answer: nothing listens, or the connection broke
└── TimedOutError     no answer in time
"""

from __future__ import annotations

from collections.abc import Mapping


class ArwError(Exception):
    """A refusal as the control plane said it.

    `reason` is a name of `arw.v1.Reason` without its prefix; a peer that gave none leaves the status's name.
    """

    def __init__(self, reason: str, text: str, remedy: str = "", metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.remedy = remedy
        self.metadata: Mapping[str, str] = metadata or {}

    def __str__(self) -> str:
        return f"{self.text} {self.remedy}".strip()


class ContextError(ArwError):
    def __init__(self, text: str, remedy: str) -> None:
        super().__init__("CONTEXT_INVALID", text, remedy)


class UnreachableError(ArwError):
    def __init__(self, text: str, remedy: str) -> None:
        super().__init__("UNAVAILABLE", text, remedy)


class TimedOutError(ArwError):
    def __init__(self, text: str, remedy: str) -> None:
        super().__init__("DEADLINE_EXCEEDED", text, remedy)
