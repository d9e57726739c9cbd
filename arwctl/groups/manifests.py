"""Commands of runtimes that compare and write manifests; `arwctl.groups.runtime` names them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arw_client import ArwError, resource_name
from arw_client import messages as m
from arwctl import manifest, planning
from arwctl.command import Call, Output
from arwctl.format import Format
from arwctl.model_file import checked
from arwctl.output import emit
from arwctl.plain import plain
from arwctl.registering import described

DIFFERS = 2
"""Exit status of plan and diff when applying would change something."""

File = Annotated[Path, typer.Option("--file", "-f", help="Manifest, TOML or JSON; -: standard input.")]
Prune = Annotated[
    bool, typer.Option("--prune", help="Remove what a manifest of this file name declared and this one does not.")
]


async def plan(call: Call, *, file: File, prune: Prune = False, output: Output = Format.TABLE) -> int:
    """Show what apply would do, field by field, and where each runtime would be placed.

    Nothing is changed. Exit code 0: nothing would change. 2: something would (wrong usage is 2 as well, and told on
    standard error).

    Examples:
    arwctl runtime plan -f fleet.toml
    arwctl runtime plan -f fleet.toml --prune -o json
    """
    found = await _planned(call, file, prune=prune)
    if output is Format.TABLE:
        planning.tell(call.screen, found)
    else:
        emit(call.screen, planning.whole(found), output)
    return DIFFERS if planning.differs(found) else 0


async def diff(call: Call, *, file: File, prune: Prune = False, output: Output = Format.TABLE) -> int:
    """Show only the keys that apply would change, as - and + lines.

    Exit codes as of plan: 0 no difference, 2 a difference.

    Examples:
    arwctl runtime diff -f fleet.toml
    arwctl runtime diff -f fleet.toml && echo "as declared"
    """
    found = await _planned(call, file, prune=prune)
    differing = [each for each in found.runtimes if each.action != m.PlannedAction.NOTHING]
    changed = [each for each in differing if not each.replica_of]
    if output is Format.TABLE:
        planning.tell_difference(call.screen, file.name, changed)
    else:
        emit(call.screen, [planning.difference(each) for each in changed], output)
    return DIFFERS if planning.differs(found) else 0


async def export(
    call: Call,
    *,
    runtimes: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="All of them when none.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Print runtimes as a manifest which, applied again, changes nothing: TOML, or JSON with --output json.

    The models that it names must be registered where it is applied.

    Examples:
    arwctl runtime export > fleet.toml
    arwctl runtime export tiny-chat -o json
    """
    if output is Format.YAML:
        raise ArwError("INVALID_ARGUMENT", "A manifest is TOML or JSON.", "Leave --output out, or say --output json.")
    form = m.ManifestFormat.JSON if output is Format.JSON else m.ManifestFormat.TOML
    names = [resource_name("runtimes", runtime) for runtime in runtimes or ()]
    async with call.client(timeout_s=30) as client:
        answer = await client.runtimes.export_manifest(m.ExportManifestRequest(names=names, format=form))
    # Its writer escapes what terminals act on, so that this leaves a manifest as it is.
    call.screen.write(plain(answer.content.decode()))


async def _planned(call: Call, file: Path, *, prune: bool) -> m.PlanManifestResponse:
    declared = manifest.read(file, prune=prune)
    for model in declared.models:
        for path in model.files:
            checked(path)
    async with call.client(timeout_s=30) as client:
        request = m.PlanManifestRequest(
            content=declared.content,
            format=declared.format,
            source=declared.path.name,
            prune=prune,
            models=[await described(call, model) for model in declared.models],
        )
        return await client.runtimes.plan_manifest(request)
