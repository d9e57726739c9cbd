from __future__ import annotations

from collections.abc import Mapping

from control_plane.domain import labels
from control_plane.domain.errors import InvalidArgument


def check_labels(given: Mapping[str, str]) -> None:
    """InvalidArgument names all that is wrong."""
    found = labels.faults(given)
    if found:
        raise InvalidArgument(f"The labels are refused: {'; '.join(found[:5])}.", labels.RULE)
