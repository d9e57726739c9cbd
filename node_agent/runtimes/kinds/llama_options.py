"""Turns the intents of a spec into llama-server options, each with the spellings of different versions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from node_agent.domain.inventory import EngineDevice
from node_agent.domain.spec import EngineSettings, InstanceSpec
from node_agent.runtimes.kinds.adapter import Endpoint
from node_agent.runtimes.kinds.flags import Option

DEFAULT_SLOTS = 2
DEFAULT_CONTEXT = 4096
ALL_LAYERS = 999
SLOT_SAVE = "--slot-save-path"


def options(
    spec: InstanceSpec, at: Endpoint, host: str, trained: int | None, placement: Iterable[Option]
) -> list[Option]:
    """`trained`: the context length that the model was made for, in tokens; None when its file does not say."""
    return [
        *_identity(spec, at, host),
        *_size(spec.settings, trained),
        *placement,
        *_service(spec.settings, at),
        *_safety(),
    ]


def _identity(spec: InstanceSpec, at: Endpoint, host: str) -> Iterator[Option]:
    if spec.model.path:
        yield ("--model", "-m"), spec.model.path, True
    if spec.projector is not None:
        yield ("--mmproj", "-mm"), spec.projector.path, True
    yield ("--alias", "-a"), spec.runtime_id, True
    yield ("--host",), host, True
    yield ("--port",), str(at.port), True
    yield ("--api-key-file",), str(at.key_file), True


def _size(settings: EngineSettings, trained: int | None) -> Iterator[Option]:
    """The engine's -c is one pool for all slots; ours is per slot."""
    slots = settings.slots or DEFAULT_SLOTS
    context = settings.context_length or min(trained or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    yield ("--ctx-size", "-c"), str(context * slots), True
    yield ("--parallel", "-np"), str(slots), True
    yield ("--no-kv-unified", "-no-kvu"), None, False
    if settings.batch_size is not None:
        yield ("--batch-size", "-b"), str(settings.batch_size), True
        yield ("--ubatch-size", "-ub"), str(min(settings.batch_size, 512)), False
    if settings.kv_cache_type is not None:
        yield ("--cache-type-k", "-ctk"), settings.kv_cache_type, True
        yield ("--cache-type-v", "-ctv"), settings.kv_cache_type, True


def placement(settings: EngineSettings, device: EngineDevice | None) -> Iterator[Option]:
    layers = settings.gpu_layers if settings.gpu_layers is not None else ALL_LAYERS
    yield ("--n-gpu-layers", "--gpu-layers", "-ngl"), str(layers if device else 0), device is not None
    yield ("--device", "-dev"), device.name if device else "none", False
    if device is not None:
        yield ("--log-verbosity", "-lv"), "4", False
    if settings.threads is not None:
        yield ("--threads", "-t"), str(settings.threads), True
        yield ("--threads-batch", "-tb"), str(settings.threads), False


def _service(settings: EngineSettings, at: Endpoint) -> Iterator[Option]:
    yield ("--metrics",), None, False
    if settings.embeddings:
        yield ("--embeddings", "--embedding"), None, True
        yield ("--pooling",), settings.pooling or "mean", True
    elif at.cache is not None:
        yield (SLOT_SAVE,), str(at.cache), False
    if settings.warm_up is False:
        yield ("--no-warmup",), None, True


def _safety() -> Iterator[Option]:
    """No user interface, no downloads, no silent change of what was asked for, no pages of others."""
    yield ("--no-ui", "--no-webui"), None, False
    yield ("--offline",), None, False
    yield ("--fit", "-fit"), "off", False
    yield ("--cors-origins",), "localhost", False
