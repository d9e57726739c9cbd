"""What a runtime's entry in a manifest says: plain data, by the manifest's own keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from control_plane.domain.ids import RuntimeId
from control_plane.domain.profile import as_said, insisted
from control_plane.domain.residence import Residence
from control_plane.domain.runtime import (
    EngineSettings,
    ExternalSettings,
    PlacementSettings,
    ProcessSettings,
    RestartPolicy,
    RuntimeSpec,
)

_PLAIN = RuntimeSpec("", process=ProcessSettings(()), external=ExternalSettings(""))


def entry(runtime: RuntimeId, spec: RuntimeSpec) -> dict[str, Any]:
    """Only what differs from the default, in the order in which people write it."""
    return _differing(_whole(runtime, spec), _whole(RuntimeId(""), _PLAIN))


def said_entry(runtime: RuntimeId, spec: RuntimeSpec) -> dict[str, Any]:
    """The same without what its profile says; a default with which its manifest overrides that stays in it."""
    insists = insisted(spec)
    default = {key: value for key, value in _whole(RuntimeId(""), _PLAIN).items() if key not in insists}
    return _differing(_whole(runtime, as_said(spec)), default)


def flat(said: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Each key with its value, such as ("settings.slots", 2)."""
    for key, value in said.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _differing(said: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in said.items():
        beside = default.get(key)
        part = _differing(value, beside or {}) if isinstance(value, Mapping) else value
        if part not in (beside, None, {}):
            found[key] = part
    return found


def _whole(runtime: RuntimeId, spec: RuntimeSpec) -> dict[str, Any]:
    return {
        "id": runtime,
        "name": spec.display_name,
        "adapter": spec.adapter,
        "model": spec.model,
        "profile": spec.profile,
        "preset": spec.preset,
        "modalities": [modality.value for modality in spec.modalities],
        "accelerator": spec.accelerator.value,
        "on_missing_accelerator": spec.on_missing_accelerator.value,
        "auto_start": spec.auto_start,
        "replicas": spec.replicas,
        **_residence(spec.residence),
        "modes": [mode.value for mode in spec.execution.modes],
        "preferred_mode": spec.execution.preferred.value,
        "image": spec.execution.image,
        "tags": dict(spec.tags),
        "node_selector": dict(spec.node_selector),
        "settings": _settings(spec.settings),
        "restart": _restart(spec.restart),
        "placement": _placement(spec.placement),
        "process": _process(spec.process) if spec.process is not None else None,
        "external": _external(spec.external) if spec.external is not None else None,
    }


def _settings(settings: EngineSettings) -> dict[str, Any]:
    prompts = settings.warm_up_prompts
    return {
        "context_length": settings.context_length,
        "slots": settings.slots,
        "threads": settings.threads,
        "gpu_layers": settings.gpu_layers,
        "batch_size": settings.batch_size,
        "embeddings": settings.embeddings,
        "pooling": settings.pooling,
        "warm_up": settings.warm_up,
        "warm_up_prompts": list(prompts) if prompts is not None else None,
        "prompt_cache": settings.prompt_cache,
        "kv_cache_type": settings.kv_cache_type,
    }


def _restart(policy: RestartPolicy) -> dict[str, Any]:
    return {"max_restarts": policy.max_restarts, "window_seconds": int(policy.window.total_seconds())}


def _residence(residence: Residence) -> dict[str, Any]:
    after = residence.idle_unload
    unload = "never" if after is None else f"{int(after.total_seconds())}s"
    return {"on_demand": residence.on_demand, "idle_unload": unload, "keep_loaded": residence.keep_loaded}


def _placement(placement: PlacementSettings) -> dict[str, Any]:
    after = placement.move_after
    on_disconnect = "keep" if after is None else f"move_after:{int(after.total_seconds())}s"
    return {"strategy": placement.strategy.value, "on_disconnect": on_disconnect}


def _process(process: ProcessSettings) -> dict[str, Any]:
    health = process.health
    return {
        "command": list(process.command),
        "working_directory": process.working_directory,
        "port": process.port,
        "openai": process.openai,
        "env": dict(process.env),
        "health": {"path": health.path, "expect_status": health.expect_status, "expect_body": health.expect_body},
    }


def _external(external: ExternalSettings) -> dict[str, Any]:
    return {"url": external.url, "health_path": external.health_path, "model": external.model}
