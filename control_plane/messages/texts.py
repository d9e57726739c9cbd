"""Bounds for what a node says in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

MAX_TEXT = 400
MAX_LINES = 20


def clipped(text: str) -> str:
    return text[:MAX_TEXT]


def clipped_lines(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(line[:MAX_TEXT] for line in islice(lines, MAX_LINES))


def clipped_pairs(pairs: Mapping[str, str]) -> dict[str, str]:
    return {key[:MAX_TEXT]: value[:MAX_TEXT] for key, value in islice(pairs.items(), MAX_LINES)}
