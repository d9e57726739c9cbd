"""Which of the ways to run the smoke is taken, and why; pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tests.smoke.settings import GB, MemoryRule, Mode, Settings


class Way(StrEnum):
    STUB = "stub engine"
    REAL = "real llama.cpp"
    GPU = "real llama.cpp on a real GPU"
    SIMULATED_GPU = "SIMULATED GPU"
    TINY_VISION = "real llama.cpp with a tiny model that takes pictures and sees nothing"
    VISION = "real llama.cpp with a model that sees"


@dataclass(frozen=True, slots=True)
class Facts:
    """What this machine has."""

    loopback: bool
    memory_available: int
    """Bytes."""
    model_bytes: int | None
    """None: no model file where LLAMA_MODEL_PATH says."""
    projector_bytes: int | None = None
    """None: no file where LLAMA_MMPROJ_PATH says."""
    lacks: tuple[str, ...] = ()
    """What a vision smoke needs and is not here, in words."""


@dataclass(frozen=True, slots=True)
class Choice:
    """`way` None: nothing can be run, for the last of `notes`."""

    way: Way | None
    notes: tuple[str, ...] = ()
    skipped: bool = False
    wants_weights: bool = False


def choose(settings: Settings, facts: Facts) -> Choice:
    if not facts.loopback:
        note = "loopback sockets are blocked here"
        return Choice(None, (note,), skipped=not settings.require_loopback)
    if settings.vision:
        return _vision(settings, facts)
    match settings.mode:
        case Mode.STUB:
            return Choice(Way.STUB)
        case Mode.REAL:
            return _real(settings, facts)
        case Mode.GPU:
            return _gpu(settings, facts)


def _real(settings: Settings, facts: Facts) -> Choice:
    if facts.model_bytes is None:
        return Choice(None, ("a real run needs weights: set LLAMA_MODEL_PATH",), wants_weights=True)
    short = shortfall(settings.memory, facts.model_bytes, facts.memory_available)
    return Choice(Way.STUB, (f"downgraded to the stub engine: {short}",)) if short else Choice(Way.REAL)


def _vision(settings: Settings, facts: Facts) -> Choice:
    """Pictures need a real engine; without weights of one's own it gets a tiny model."""
    if facts.lacks:
        return Choice(None, facts.lacks, wants_weights=True)
    if settings.mode is Mode.STUB:
        return Choice(Way.TINY_VISION)
    if facts.model_bytes is None or facts.projector_bytes is None:
        note = "a real vision run needs weights: set LLAMA_MODEL_PATH, and LLAMA_MMPROJ_PATH for the projector"
        return Choice(None, (note,), wants_weights=True)
    short = shortfall(settings.memory, facts.model_bytes + facts.projector_bytes, facts.memory_available)
    return Choice(Way.TINY_VISION, (f"downgraded to a tiny model: {short}",)) if short else Choice(Way.VISION)


def _gpu(settings: Settings, facts: Facts) -> Choice:
    if settings.simulate_gpu and not settings.require_real_gpu:
        return Choice(Way.SIMULATED_GPU)
    if facts.model_bytes is None:
        why = "a real GPU run needs weights: set LLAMA_MODEL_PATH"
        wants = True
    else:
        why = shortfall(settings.memory, facts.model_bytes, facts.memory_available)
        wants = False
    if not why:
        return Choice(Way.GPU)
    if settings.require_real_gpu:
        return Choice(None, (f"LLAMA_GPU_REQUIRE_REAL is set, but {why}",), wants_weights=wants)
    return Choice(Way.SIMULATED_GPU, (f"downgraded to a simulated GPU: {why}",), wants_weights=wants)


def shortfall(rule: MemoryRule, model_bytes: int, available: int) -> str:
    """How much memory is missing, in words; empty when there is enough."""
    need = max(int(model_bytes * rule.factor) + rule.overhead, rule.floor)
    usable = available - rule.reserve
    if rule.bypassed or need <= usable:
        return ""
    return (
        f"the model needs about {need / GB:.1f} GB, {max(usable, 0) / GB:.1f} GB may be used"
        f" ({rule.reserve / GB:.1f} GB stay reserved); RUNTIME_SMOKE_ALLOW_HIGH_MEM=1 tries anyway"
    )
