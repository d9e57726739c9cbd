"""Applying a manifest: its models first, then its runtimes as one change."""

from __future__ import annotations

from arw_client import Client
from arw_client import messages as m
from arwctl.command import Call
from arwctl.manifest import ManifestFile
from arwctl.model_file import checked
from arwctl.output import slug
from arwctl.readiness import Waiting
from arwctl.registering import register
from arwctl.screen import Screen


async def apply(
    client: Client, call: Call, manifest: ManifestFile, *, validate_only: bool, prune: bool = False
) -> list[m.AppliedRuntime]:
    """Every refusal comes before any change: files are looked at, and the manifest is judged, first."""
    for model in manifest.models:
        for file in model.files:
            checked(file)
    if not validate_only:
        for model in manifest.models:
            await register(client, call, model, replace=True)
    answer = await client.runtimes.apply_manifest(manifest.request(validate_only=validate_only, prune=prune))
    return answer.runtimes


def tell(screen: Screen, applied: list[m.AppliedRuntime], *, validate_only: bool) -> None:
    for each in applied:
        runtime = each.runtime or m.Runtime()
        screen.line(f"{runtime.id}: {'would be ' if validate_only else ''}{slug(each.outcome)}")


async def wait(client: Client, screen: Screen, applied: list[m.AppliedRuntime], timeout_s: float) -> None:
    """Until each runtime that is to run serves."""
    runtimes = [each.runtime for each in applied if each.runtime and each.outcome != m.ApplyOutcome.REMOVED]
    running = [each for each in runtimes if each.desired_state == m.DesiredState.RUNNING]
    for runtime in runtimes:
        if runtime not in running:
            screen.note(f"{runtime.id}: declared, not started. Start it with `arwctl runtime restore {runtime.id}`.")
    await Waiting(client, screen, running).until_ready(timeout_s)
    for runtime in running:
        screen.line(f"{runtime.id}: ready")
