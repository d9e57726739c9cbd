"""Recording a model file with the control plane."""

from __future__ import annotations

import asyncio
from pathlib import Path

from arw_client import ArwError, Client
from arw_client import messages as m
from arwctl.command import Call
from arwctl.manifest import BroughtModel, Declared
from arwctl.model_digests import ModelDigests
from arwctl.model_file import ModelFile, by_name, checked, measured
from arwctl.progress import byte_bar


async def register(client: Client, call: Call, model: BroughtModel, *, replace: bool) -> m.Model:
    """Idempotent: the same file under the same id again changes nothing."""
    request = m.CreateModelRequest(model_id=model.id, model=await described(call, model), replace=replace)
    return (await client.models.create_model(request)).model or m.Model()


async def described(call: Call, model: BroughtModel) -> m.Model:
    """As it would be registered."""
    found = await _found(call, model, model.path)
    projector = await _found(call, model, model.projector) if model.projector is not None else None
    message = found.message(projector)
    message.id = model.id
    return message


async def _found(call: Call, model: BroughtModel, path: Path) -> ModelFile:
    """What it holds, which has to be what is declared; or just that, where it lies on the nodes alone."""
    declared = model.declared.get(path)
    if declared is not None and path not in model.files:
        form = (model.format or by_name(path)) if path == model.path else ""
        return ModelFile(path, declared.sha256, declared.size_bytes, form)
    found = await _measured(call, checked(path))
    if declared is not None and declared != Declared(found.sha256, found.size_bytes):
        raise ArwError(
            "MODEL_FILE_INVALID",
            f"{path} has SHA-256 {found.sha256} and {found.size_bytes} bytes; the manifest says {declared.sha256} and "
            f"{declared.size_bytes}.",
            "Put the file there that the manifest means, or correct the manifest.",
        )
    return found


async def _measured(call: Call, path: Path) -> ModelFile:
    with byte_bar(call.screen, f"reading {path.name}") as progress:
        return await asyncio.to_thread(measured, path, progress, ModelDigests(call.state_dir))
