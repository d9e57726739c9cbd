from __future__ import annotations

import re
from collections.abc import Mapping

MAX_PAIRS = 64
_KEY = re.compile(r"[a-z0-9]([a-z0-9._/-]{0,62}[a-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?)?")

RULE = (
    f"At most {MAX_PAIRS} pairs; a key is 1 to 64 of a-z, 0-9, '.', '_', '-', '/', "
    "a value at most 64 of letters, digits, '.', '_', '-'; both begin and end with a letter or digit."
)


def faults(labels: Mapping[str, str]) -> list[str]:
    """What is wrong with node labels or a node selector; empty when nothing is."""
    found = [f"label key {key[:64]!r} is not allowed" for key in labels if not _KEY.fullmatch(key)]
    found += [f"the value of label {key[:64]!r} is not allowed" for key, v in labels.items() if not _VALUE.fullmatch(v)]
    return [*found, f"there are {len(labels)} labels"] if len(labels) > MAX_PAIRS else found


def unmatched(selector: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, str]:
    """The pairs of the selector that the labels do not have."""
    return {key: value for key, value in selector.items() if labels.get(key) != value}
