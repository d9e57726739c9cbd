"""Where runtimes are declared, as one read model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.event import Event
from control_plane.domain.ids import RuntimeId


@dataclass(frozen=True, slots=True)
class ManifestSources:
    paths: tuple[str, ...]
    """Files and folders that this control plane loads."""
    declared: Mapping[str, tuple[RuntimeId, ...]]
    """By source, both in order."""
    news: tuple[Event, ...]
    """The newest reloads and refusals, the newest last."""
    update_time: datetime
