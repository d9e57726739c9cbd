"""The variables that steer the smoke."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

GB = 1 << 30
ROOT = Path(".smoke/runtime")
VISION_ROOT = Path(".smoke/vision")


class Mode(StrEnum):
    STUB = "stub"
    REAL = "real"
    GPU = "gpu"


@dataclass(frozen=True, slots=True)
class MemoryRule:
    """Memory an engine is taken to need: size * factor + overhead, at least `floor`."""

    factor: float = 2.2
    overhead: int = GB
    reserve: int = GB
    """Kept free for everything else."""
    floor: int = 0
    bypassed: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    mode: Mode = Mode.STUB
    engine: Path | None = None
    """None: the wheel of arw[llama]."""
    engine_arguments: str = ""
    model: Path | None = None
    simulate_gpu: bool = False
    require_real_gpu: bool = False
    require_loopback: bool = False
    timeout_s: float | None = 600
    """None: no limit."""
    root: Path = ROOT
    keep_recent: int = 6
    retention_s: float = 604_800
    keep: bool = False
    memory: MemoryRule = field(default_factory=MemoryRule)
    vision: bool = False
    """Pictures are asked about, and the engine is restored by force."""
    projector: Path | None = None
    """Of a model of one's own that takes pictures."""
    server: Path | None = None
    """A control plane of another build, whose arwctl lies beside it; None: the one installed here."""


def read(environment: Mapping[str, str]) -> Settings:
    """ValueError names the variable that makes no sense."""
    found = _Reader(environment)
    timeout = found.number("RUNTIME_SMOKE_TIMEOUT_SECS", found.number("SMOKE_TIMEOUT_SECS", 600))
    mode = environment.get("MODE", "stub").lower()
    if mode not in {*Mode, "cpu"}:
        raise ValueError(f"MODE is {mode!r}; it can be stub, real, cpu or gpu")
    vision = _vision(environment, mode)
    return Settings(
        mode=Mode.REAL if mode == "cpu" else Mode(mode),
        engine=found.path("LLAMA_SERVER_BIN"),
        engine_arguments=environment.get("LLAMA_SERVER_ARGS", ""),
        model=found.path("LLAMA_MODEL_PATH"),
        simulate_gpu=found.flag("LLAMA_GPU_SIMULATE"),
        require_real_gpu=found.flag("LLAMA_GPU_REQUIRE_REAL"),
        require_loopback=found.flag("RUNTIME_SMOKE_REQUIRE_LOOPBACK"),
        timeout_s=timeout or None,
        root=found.path("VISION_SMOKE_ROOT" if vision else "RUNTIME_SMOKE_ROOT") or (VISION_ROOT if vision else ROOT),
        keep_recent=int(found.number("RUNTIME_SMOKE_KEEP_RECENT", 6)),
        retention_s=found.number("RUNTIME_SMOKE_RETENTION_SECS", 604_800),
        keep=found.flag("RUNTIME_SMOKE_KEEP_TMP"),
        memory=_memory(found),
        vision=vision,
        projector=found.path("LLAMA_MMPROJ_PATH"),
        server=found.path("ARW_SERVER_BIN"),
    )


def _vision(environment: Mapping[str, str], mode: str) -> bool:
    asked = environment.get("ARW_SMOKE_MODE", "").lower()
    if asked not in {"", "runtime", "vision"}:
        raise ValueError(f"ARW_SMOKE_MODE is {asked!r}; it can be runtime or vision")
    if asked == "vision" and mode == Mode.GPU:
        raise ValueError("MODE is 'gpu'; with ARW_SMOKE_MODE=vision it can be stub, real or cpu")
    return asked == "vision"


def _memory(found: _Reader) -> MemoryRule:
    return MemoryRule(
        factor=found.number("RUNTIME_SMOKE_MEM_FACTOR", 2.2),
        overhead=int(found.number("RUNTIME_SMOKE_MEM_OVERHEAD_GB", 1) * GB),
        reserve=int(found.number("RUNTIME_SMOKE_MEM_RESERVE_GB", 1) * GB),
        floor=int(found.number("RUNTIME_SMOKE_MIN_REQUIRED_GB", 0) * GB),
        bypassed=found.flag("RUNTIME_SMOKE_ALLOW_HIGH_MEM"),
    )


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def flag(self, name: str) -> bool:
        return self._environment.get(name, "").lower() in {"1", "true", "yes", "on"}

    def number(self, name: str, default: float) -> float:
        text = self._environment.get(name, "")
        try:
            return float(text) if text else default
        except ValueError:
            raise ValueError(f"{name} is {text!r}, not a number") from None

    def path(self, name: str) -> Path | None:
        text = self._environment.get(name, "")
        return Path(text).expanduser().absolute() if text else None
