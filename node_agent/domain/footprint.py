"""What an engine with one model took on this node, learnt from its launches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from node_agent.domain.spec import EngineSettings

RISE = 1.05
"""What is less is no news."""
NEWEST = 0.25
"""The share of what was seen last in a speed that was known before."""


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
class Speeds:
    """Tokens per second that one request gets while it has the engine to itself; None: it was not seen yet."""

    generated: float | None = None
    prompt: float | None = None
    """Of the tokens that had to be read: what the cache held is left out."""


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
    speeds: Speeds = Speeds()


def grown(known: Footprint | None, seen: Footprint) -> Footprint:
    """With what was seen added: the most that it took, and how fast it is of late."""
    if known is None:
        return seen
    device = [size for size in (known.device_memory_bytes, seen.device_memory_bytes) if size is not None]
    return replace(
        known,
        memory_bytes=max(known.memory_bytes, seen.memory_bytes),
        load_time=max(known.load_time, seen.load_time),
        device_memory_bytes=max(device, default=None),
        launches=known.launches + seen.launches,
        speeds=known_or(seen.speeds, known.speeds),
    )


def known_or(speeds: Speeds, others: Speeds) -> Speeds:
    return Speeds(
        others.generated if speeds.generated is None else speeds.generated,
        others.prompt if speeds.prompt is None else speeds.prompt,
    )


def blended(known: Speeds, seen: Speeds) -> Speeds:
    """How fast it is of late: no single span decides."""
    return Speeds(_blended(known.generated, seen.generated), _blended(known.prompt, seen.prompt))


def _blended(known: float | None, seen: float | None) -> float | None:
    if known is None or seen is None:
        return known if seen is None else seen
    return known + NEWEST * (seen - known)


def is_news(known: Footprint | None, now: Footprint) -> bool:
    if known is None or now.launches != known.launches:
        return True
    device = now.device_memory_bytes or 0
    if now.memory_bytes > RISE * known.memory_bytes or device > RISE * (known.device_memory_bytes or 0):
        return True
    return _differ(known.speeds.generated, now.speeds.generated) or _differ(known.speeds.prompt, now.speeds.prompt)


def _differ(known: float | None, now: float | None) -> bool:
    if known is None or now is None:
        return known is not now
    return max(known, now) > RISE * min(known, now)


def given(settings: EngineSettings) -> dict[str, object]:
    """The options by their names in the protocol."""
    return {name: getattr(settings, name) for name in EngineSettings.__slots__}
