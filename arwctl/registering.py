"""Recording a model file with the control plane."""

from __future__ import annotations

import asyncio
from pathlib import Path

from arw_client import Client
from arw_client import messages as m
from arwctl.command import Call
from arwctl.manifest import BroughtModel
from arwctl.model_digests import ModelDigests
from arwctl.model_file import ModelFile, checked, measured
from arwctl.progress import byte_bar


async def register(client: Client, call: Call, model: BroughtModel, *, replace: bool) -> m.Model:
    """Idempotent: the same file under the same id again changes nothing."""
    request = m.CreateModelRequest(model_id=model.id, model=await described(call, model), replace=replace)
    return (await client.models.create_model(request)).model or m.Model()


async def described(call: Call, model: BroughtModel) -> m.Model:
    """As it would be registered."""
    found = await _measured(call, checked(model.path))
    projector = await _measured(call, checked(model.projector)) if model.projector is not None else None
    message = found.message(projector)
    message.id = model.id
    return message


async def _measured(call: Call, path: Path) -> ModelFile:
    with byte_bar(call.screen, f"reading {path.name}") as progress:
        return await asyncio.to_thread(measured, path, progress, ModelDigests(call.state_dir))
