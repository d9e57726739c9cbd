"""What must hold before an engine is started for a spec."""

from __future__ import annotations

import asyncio
from pathlib import Path

from node_agent.domain.errors import AdapterUnknown, ModelDigestMismatch, ModelFileMissing, SpecInvalid
from node_agent.domain.spec import InstanceSpec, ModelFile
from node_agent.runtimes.equipment import Equipment
from node_agent.runtimes.kinds.adapter import Adapter
from node_agent.runtimes.kinds.caching import check_caching
from node_agent.runtimes.modes import Chosen, choose


def adapter_of(spec: InstanceSpec, equipment: Equipment) -> Adapter:
    try:
        return equipment.adapters[spec.adapter]
    except KeyError:
        raise AdapterUnknown(
            f"This agent has no adapter named {spec.adapter}.",
            f"Use one of: {', '.join(sorted(equipment.adapters))}; or update the agent.",
            adapter=spec.adapter,
        ) from None


def quick(spec: InstanceSpec, equipment: Equipment) -> None:
    """All that can be told without reading whole files. Raises the Refusal."""
    adapter = adapter_of(spec, equipment)
    if adapter.traits.managed:
        chosen(spec, equipment)
    files = _files(spec, adapter)
    sizes = [_size(file) for file in files]
    check_caching(spec, adapter.traits)
    adapter.check(spec)
    for file, size in zip(files, sizes, strict=True):
        if file.size_bytes not in (0, size):
            raise _changed(file, f"It has {size} bytes, the model was added with {file.size_bytes}.")
    if spec.external is not None:
        equipment.attachable.check(spec.external.url)


def speaks_openai(spec: InstanceSpec, equipment: Equipment) -> bool:
    """Whether requests may be sent to it; a program of one's own says so in its manifest."""
    return spec.process.openai if spec.process is not None else adapter_of(spec, equipment).traits.openai


def chosen(spec: InstanceSpec, equipment: Equipment) -> Chosen:
    """The mode and the trusted engine to use. EngineNotFound, EngineNotTrusted, ExecutionModeUnavailable."""
    return choose(spec, equipment.limits(), equipment.trusted, equipment.containers.offer)


async def thorough(spec: InstanceSpec, equipment: Equipment) -> Chosen:
    """Digests of engine and model too. Reads whole files when they changed since they were last read."""
    if equipment.trusted.has_images:
        await equipment.containers.look()
    await asyncio.to_thread(quick, spec, equipment)
    found = await asyncio.to_thread(chosen, spec, equipment)
    await asyncio.to_thread(equipment.trusted.verify, found.engine)
    for file in _files(spec, adapter_of(spec, equipment)):
        if file.sha256:
            await _check_digest(file, equipment)
    return found


def _files(spec: InstanceSpec, adapter: Adapter) -> list[ModelFile]:
    if adapter.traits.needs_model and not spec.model.path:
        raise SpecInvalid(
            f"{spec.runtime_id} names no model, and {adapter.id} needs one.", "Set model in its manifest."
        )
    return [file for file in (spec.model, spec.projector) if file is not None and file.path]


def _size(file: ModelFile) -> int:
    path = Path(file.path)
    if not path.is_absolute() or "\0" in file.path:
        raise SpecInvalid(f"The model's path {file.path!r} is not absolute.", "Add the model again with its full path.")
    try:
        return path.stat().st_size
    except OSError as error:
        raise _missing(file, error) from error


async def _check_digest(file: ModelFile, equipment: Equipment) -> None:
    try:
        actual = await asyncio.to_thread(equipment.digests.sha256, file.path)
    except OSError as error:
        raise _missing(file, error) from error
    if actual != file.sha256.lower():
        raise _changed(file, "Its content has another digest.")


def _missing(file: ModelFile, error: OSError) -> ModelFileMissing:
    return ModelFileMissing(
        f"The model file {file.path} cannot be read on this node: {error.strerror}.",
        "Put the file there, or place the runtime on a node that has it.",
        path=file.path,
    )


def _changed(file: ModelFile, how: str) -> ModelDigestMismatch:
    return ModelDigestMismatch(
        f"The model file {file.path} is not the one that was added. {how}",
        "Put the right file back, or add the model again with `arwctl model add`.",
        path=file.path,
    )
