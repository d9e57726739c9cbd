"""Which adapters this agent has: its own, and those that packages beside it bring."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

import structlog

from node_agent.runtimes.kinds.adapter import Adapter
from node_agent.runtimes.kinds.external import External
from node_agent.runtimes.kinds.llama_cpp import LlamaCpp
from node_agent.runtimes.kinds.llamafile import Llamafile
from node_agent.runtimes.kinds.onnxruntime import OnnxRuntime
from node_agent.runtimes.kinds.piper import Piper
from node_agent.runtimes.kinds.process import Process
from node_agent.runtimes.kinds.vllm import Vllm
from node_agent.runtimes.kinds.whisper_cpp import WhisperCpp

log = structlog.get_logger()

GROUP = "arw.adapters"
BUILT_IN = "built in"
OWN: tuple[Callable[[], Adapter], ...] = (
    External,
    LlamaCpp,
    Llamafile,
    OnnxRuntime,
    Piper,
    Process,
    Vllm,
    WhisperCpp,
)


@dataclass(frozen=True, slots=True)
class Registered:
    adapter: Adapter
    source: str
    """BUILT_IN, or the package that brings it."""


def registered(found: Iterable[EntryPoint] | None = None) -> list[Registered]:
    """In order of their ids. A package's adapter that cannot be loaded, or takes an id that is taken, is left out."""
    known = {adapter.id: Registered(adapter, BUILT_IN) for adapter in (make() for make in OWN)}
    for point in entry_points(group=GROUP) if found is None else found:
        adapter = _loaded(point)
        if adapter is not None and adapter.id in known:
            log.warning("adapter_left_out", adapter=adapter.id, entry_point=point.value, why="its id is taken")
        elif adapter is not None:
            known[adapter.id] = Registered(adapter, _package(point))
    return [known[id_] for id_ in sorted(known)]


def known_adapters() -> dict[str, Adapter]:
    return {one.adapter.id: one.adapter for one in registered()}


def _loaded(point: EntryPoint) -> Adapter | None:
    """An entry point names what makes the adapter; whatever goes wrong in it is the package's own."""
    try:
        adapter: Adapter = point.load()()
        id_ = adapter.id
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        log.warning("adapter_left_out", adapter=point.name, entry_point=point.value, why=str(error))
        return None
    if id_ != point.name:
        log.warning("adapter_left_out", adapter=point.name, entry_point=point.value, why=f"it calls itself {id_}")
        return None
    return adapter


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value
