"""Which dialect a path belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from gateway.dialects.errors import ANTHROPIC, OLLAMA, OPENAI, PROBLEM, Shape

MESSAGES = b"/v1/messages"


class Dialect(Enum):
    OPENAI = auto()
    ANTHROPIC = auto()
    OLLAMA = auto()
    OWN = auto()
    """The tools, and all that the application answers."""


_SHAPES: Mapping[Dialect, Shape] = {
    Dialect.OPENAI: OPENAI,
    Dialect.ANTHROPIC: ANTHROPIC,
    Dialect.OLLAMA: OLLAMA,
    Dialect.OWN: PROBLEM,
}


def shape_of(path: bytes) -> Shape:
    return _SHAPES[dialect_of(path)]


def dialect_of(path: bytes) -> Dialect:
    if _within(path, MESSAGES):
        return Dialect.ANTHROPIC
    if _within(path, b"/v1"):
        return Dialect.OPENAI
    return Dialect.OLLAMA if _within(path, b"/api") else Dialect.OWN


def is_inference(path: bytes) -> bool:
    """The rest is the application's."""
    return dialect_of(path) is not Dialect.OWN or _within(path, b"/tools")


def _within(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder + b"/")
