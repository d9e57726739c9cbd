"""Text and numbers that JSON and TOML may hold and nothing else here: databases and programs cannot take them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from wire.positions import MAX_DEPTH
from wire.strict import Path

_BEYOND = 1 << 63
_HALF = re.compile("[\ud800-\udfff]")


def unfit(data: Any) -> Iterator[tuple[Path, str]]:
    """What is wrong with each text and number of a document, keys included."""
    left: list[tuple[Path, Any]] = [((), data)]
    while left:
        path, value = left.pop()
        match value:
            case str() if (said := _fault(value)) is not None:
                yield path, said
            case int() if not -_BEYOND <= value < _BEYOND:
                yield path, "is no number of 64 bits"
            case dict():
                left += [(_below(path, key), part) for key, part in value.items()]
                yield from ((path, f"has a key that {said}") for key in value if (said := _fault(key)) is not None)
            case list():
                left += [(_below(path, index), part) for index, part in enumerate(value)]
            case _:
                pass


def _below(path: Path, step: str | int) -> Path:
    return (*path, step) if len(path) < MAX_DEPTH else path


def _fault(text: str) -> str | None:
    if "\0" in text:
        return "holds a NUL character"
    if not text.isascii() and _HALF.search(text):
        return "holds half of a character (a lone surrogate)"
    return None
