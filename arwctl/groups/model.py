"""Model files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from arw_client import display_id
from arw_client import messages as m
from arwctl.command import Call, Output, command, group
from arwctl.format import Format
from arwctl.groups import benchmark
from arwctl.manifest import BroughtModel
from arwctl.model_file import NAMES
from arwctl.output import Columns, listing, show
from arwctl.registering import register
from arwctl.targets import one_of

app = group("Record and list model files, and measure how fast they are served.")

MODELS = Columns[m.Model](
    ("model", "size", "sha256", "path"),
    lambda model: (model.id, f"{model.size_bytes / 1e6:.1f} MB", model.sha256[:12], model.path),
    "No model is recorded. Record one with `arwctl model add FILE`.",
)


command(app, "benchmark")(benchmark.benchmark)

Projector = Annotated[
    Path | None, typer.Option("--projector", "--mmproj", metavar="FILE", help="What lets it take pictures.")
]


@command(app, "add")
async def add(
    call: Call,
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model file on this machine.")],
    projector: Projector = None,
    id_: Annotated[str, typer.Option("--id", help="Its id; otherwise from the file's name.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Replace the file of a known id.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Record where a model file lies, and its digest.

    Examples:
    arwctl model add qwen3-4b.gguf --id qwen3-4b
    arwctl model add llava.gguf --projector mmproj.gguf
    """
    async with call.client(timeout_s=30) as client:
        model = await register(client, call, BroughtModel(id_ or id_of(file), file, projector), replace=replace)
    show(call.screen, model, output, lambda: call.screen.line(f"{model.id}: sha256 {model.sha256}"))


def id_of(file: Path) -> str:
    """A valid id made of a file's name, or of its folder's when it stands for that."""
    name = file.absolute().parent.name if file.name in NAMES else file.stem
    return re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.") or "model"


@command(app, "list")
async def list_models(call: Call, *, output: Output = Format.TABLE) -> None:
    """List models.

    Examples:
    arwctl model list
    """
    async with call.client() as client:
        found = [model async for model in client.models.each()]
    listing(call.screen, found, output, MODELS)


@command(app, "delete")
async def delete(call: Call, *, model: Annotated[str, typer.Argument(metavar="ID", help="Model id.")]) -> None:
    """Forget a model; its file stays.

    Examples:
    arwctl model delete qwen3-4b
    """
    name = one_of("models", model)
    async with call.client() as client:
        await client.models.delete_model(m.DeleteModelRequest(name=name))
    call.screen.line(f"{display_id(name)}: deleted")
