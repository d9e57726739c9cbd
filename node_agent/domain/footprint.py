"""What an engine with one model took on this node, learnt from its launches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from node_agent.domain.spec import EngineSettings

RISE = 1.05
"""What is less is no news."""


@dataclass(frozen=True, slots=True)
class FootprintKey:
    """Launches that agree in all of it take as much on every machine."""

    model_sha256: str
    engine_sha256: str
    """Of the engine's main file."""
    options: str
    """As wire.engine_options names them."""
    accelerator: str = ""
    """Slug of what the engine really used."""


@dataclass(frozen=True, slots=True)
class Footprint:
    key: FootprintKey
    memory_bytes: int
    """Peak of the whole process tree in the machine's own memory."""
    load_time: timedelta = timedelta()
    """The slowest seen, from launch to ready; 0: none was seen."""
    device_memory_bytes: int | None = None
    """Peak over all devices; None: the driver does not say."""
    launches: int = 0


def grown(known: Footprint | None, seen: Footprint) -> Footprint:
    """With what was seen added."""
    if known is None:
        return seen
    device = [size for size in (known.device_memory_bytes, seen.device_memory_bytes) if size is not None]
    return replace(
        known,
        memory_bytes=max(known.memory_bytes, seen.memory_bytes),
        load_time=max(known.load_time, seen.load_time),
        device_memory_bytes=max(device, default=None),
        launches=known.launches + seen.launches,
    )


def is_news(known: Footprint | None, now: Footprint) -> bool:
    if known is None or now.launches != known.launches:
        return True
    device = now.device_memory_bytes or 0
    return now.memory_bytes > RISE * known.memory_bytes or device > RISE * (known.device_memory_bytes or 0)


def given(settings: EngineSettings) -> dict[str, object]:
    """The options by their names in the protocol."""
    return {name: getattr(settings, name) for name in EngineSettings.__slots__}
