"""What must hold before an engine is started for a spec."""

from __future__ import annotations

import asyncio
from pathlib import Path

from node_agent.domain.errors import AdapterUnknown, ModelDigestMismatch, ModelFileMissing, SpecInvalid
from node_agent.domain.inventory import Engine
from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.equipment import Equipment
from node_agent.runtimes.kinds.adapter import Adapter


def adapter_of(spec: InstanceSpec, equipment: Equipment) -> Adapter:
    try:
        return equipment.adapters[spec.adapter]
    except KeyError:
        raise AdapterUnknown(
            f"This agent has no adapter named {spec.adapter}.",
            f"Use one of: {', '.join(sorted(equipment.adapters))}; or update the agent.",
            adapter=spec.adapter,
        ) from None


def quick(spec: InstanceSpec, equipment: Equipment) -> Engine:
    """All that can be told without reading whole files. Raises the Refusal; returns the engine to use."""
    adapter = adapter_of(spec, equipment)
    engine = equipment.trusted.engine_for(spec.adapter)
    path = Path(spec.model.path)
    if not path.is_absolute() or "\0" in spec.model.path:
        raise SpecInvalid(
            f"The model's path {spec.model.path!r} is not absolute.", "Add the model again with its full path."
        )
    try:
        size = path.stat().st_size
    except OSError as error:
        raise _missing(spec, error) from error
    adapter.check_model(spec)
    if spec.model.size_bytes not in (0, size):
        raise _changed(spec, f"It has {size} bytes, the model was added with {spec.model.size_bytes}.")
    return engine


async def thorough(spec: InstanceSpec, equipment: Equipment) -> Engine:
    """Digests of engine and model too. Reads whole files when they changed since they were last read."""
    engine = await asyncio.to_thread(quick, spec, equipment)
    await asyncio.to_thread(equipment.trusted.verify, engine)
    if spec.model.sha256:
        await _check_digest(spec, equipment)
    return engine


async def _check_digest(spec: InstanceSpec, equipment: Equipment) -> None:
    try:
        actual = await asyncio.to_thread(equipment.digests.sha256, spec.model.path)
    except OSError as error:
        raise _missing(spec, error) from error
    if actual != spec.model.sha256.lower():
        raise _changed(spec, "Its content has another digest.")


def _missing(spec: InstanceSpec, error: OSError) -> ModelFileMissing:
    return ModelFileMissing(
        f"The model file {spec.model.path} cannot be read on this node: {error.strerror}.",
        "Put the file there, or place the runtime on a node that has it.",
        path=spec.model.path,
    )


def _changed(spec: InstanceSpec, how: str) -> ModelDigestMismatch:
    return ModelDigestMismatch(
        f"The model file {spec.model.path} is not the one that was added. {how}",
        "Put the right file back, or add the model again with `arwctl model add`.",
        path=spec.model.path,
    )
