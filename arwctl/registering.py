"""Recording a model file with the control plane."""

from __future__ import annotations

import asyncio
from pathlib import Path

from arw_client import Client
from arw_client import messages as m
from arwctl.model_file import ModelFile, checked, measured
from arwctl.progress import byte_bar
from arwctl.screen import Screen


async def register(client: Client, screen: Screen, model_id: str, path: Path, *, replace: bool) -> m.Model:
    """Idempotent: the same file under the same id again changes nothing."""
    found = await _measured(screen, checked(path))
    request = m.CreateModelRequest(model_id=model_id, model=found.message(), replace=replace)
    return (await client.models.create_model(request)).model or m.Model()


async def _measured(screen: Screen, path: Path) -> ModelFile:
    with byte_bar(screen, f"reading {path.name}") as progress:
        return await asyncio.to_thread(measured, path, progress)
