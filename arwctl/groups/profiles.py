"""Profiles of runtimes."""

from __future__ import annotations

from typing import Annotated

import typer

from arw_client import ArwError
from arw_client import messages as m
from arwctl import profile_view
from arwctl.command import Call, Output, command, group
from arwctl.format import Format
from arwctl.output import listing, show
from arwctl.targets import one_of

app = group("See which profiles there are, and put runtimes under another.")

Name = Annotated[str, typer.Argument(metavar="PROFILE", help="Such as silent.", show_default=False)]
Id = Annotated[str, typer.Argument(metavar="ID", help="Runtime id.", show_default=False)]


@command(app, "list")
async def list_profiles(call: Call, *, output: Output = Format.TABLE) -> None:
    """List the profiles of the control plane, and those of its operator.

    Examples:
    arwctl runtime profile list
    """
    listing(call.screen, await _found(call), output, profile_view.PROFILES)


@command(app, "show")
async def show_profile(call: Call, profile: Name, *, output: Output = Format.TABLE) -> None:
    """Show what a profile says.

    Examples:
    arwctl runtime profile show silent
    """
    found = {each.name: each for each in await _found(call)}
    if profile not in found:
        known = ", ".join(found)
        raise ArwError("NOT_FOUND", f"There is no profile {profile}.", f"Choose one of {known}.")
    show(call.screen, found[profile], output, lambda: profile_view.describe(call.screen, found[profile]))


@command(app, "set")
async def set_profile(call: Call, runtime: Id, profile: Name, *, output: Output = Format.TABLE) -> None:
    """Put a runtime under another profile. An engine that runs is started again if that says something else.

    What its manifest says of single keys counts more. Applying its manifest again, or a change of the file that
    declares it, counts more than this.

    Examples:
    arwctl runtime profile set tiny-chat silent
    """
    await _put(call, runtime, profile, output)


@command(app, "clear")
async def clear(call: Call, runtime: Id, *, output: Output = Format.TABLE) -> None:
    """Leave a runtime without a profile.

    Examples:
    arwctl runtime profile clear tiny-chat
    """
    await _put(call, runtime, "", output)


async def _found(call: Call) -> list[m.RuntimeProfile]:
    async with call.client() as client:
        return list((await client.runtimes.list_runtime_profiles(m.ListRuntimeProfilesRequest())).profiles)


async def _put(call: Call, runtime: str, profile: str, output: Format) -> None:
    request = m.SetRuntimeProfileRequest(name=one_of("runtimes", runtime), profile=profile)
    async with call.client() as client:
        changed = (await client.runtimes.set_runtime_profile(request)).runtime or m.Runtime()
    told = f"profile {profile}" if profile else "no profile"
    show(
        call.screen, changed, output, lambda: call.screen.line(f"{changed.id}: {told}, as arwctl runtime explain says")
    )
