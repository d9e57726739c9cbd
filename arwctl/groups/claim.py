"""Claims: capacity that a project can rely on, for as long as it is renewed."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Annotated

import typer

from arw_client import messages as m
from arw_client import resource_name
from arw_client.holding import OVER, acquired
from arwctl import claim_view
from arwctl.claim_wish import wishing
from arwctl.claiming import News, changes, waited
from arwctl.command import Call, Output, command, group
from arwctl.exit_codes import ExitCode
from arwctl.format import Format
from arwctl.groups import claim_exec
from arwctl.output import document, emit, listing, show
from arwctl.plain import one_line
from arwctl.targets import one_of, seconds

app = group("Claim capacity of runtimes: a slot or a whole instance, for a time, with what to fall back to.")

Id = Annotated[str, typer.Argument(metavar="CLAIM", help="Claim id.", show_default=False)]
Project = Annotated[str, typer.Option("--project", "-p", metavar="ID", help="Only if it is this project's.")]
Timeout = Annotated[str, typer.Option("--timeout", metavar="DURATION", help="Give up after it, such as 90s or 5m.")]


@command(app, "acquire")
@wishing
async def acquire(
    call: Call,
    request: m.AcquireClaimRequest,
    *,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until it is granted.")] = True,
    patience: Timeout = "",
    key: Annotated[
        str, typer.Option("--request-id", metavar="UUID", help="Your own: the same again is the same claim.")
    ] = "",
    output: Output = Format.TABLE,
) -> None:
    """Claim a slot or a whole instance, and say where it is. Renew it in time: nobody else keeps it alive.

    While it waits, its place in the line is told. Who stops waiting (Ctrl-C, --timeout) gives it up.

    Examples:
    arwctl claim acquire --model tiny-chat --ttl 10m
    arwctl claim acquire --model llama-3 --project team-a --exclusive --min-tokens-per-sec 20 --fallback tiny-chat
    arwctl claim acquire --model llama-3 --no-wait -o json
    """
    request.wait, request.request_id = wait, key
    if wait:
        claim = await waited(call, request, seconds(patience) if patience else None)
    else:
        claim = await acquired(call.client, request, News(call.screen).hear_in_line)
        if (error := claim_view.failure(claim)) is not None:
            raise error
    show(call.screen, claim, output, lambda: claim_view.describe(call.screen, claim))
    if output is Format.TABLE:
        use = f"Send requests with 'X-ARW-Claim: {claim.id}'" if wait else f"Follow it: arwctl claim watch {claim.id}"
        call.screen.note(f"{use}; renew it: arwctl claim renew {claim.id}")


command(app, "exec")(wishing(claim_exec.execute))


@command(app, "renew")
async def renew(call: Call, claim: Id, *, project: Project = "", output: Output = Format.TABLE) -> None:
    """Let a claim live for its time to live once more.

    Examples:
    arwctl claim renew 0f8fad5b-d9cb-469f-a165-70867728950e
    """
    request = m.RenewClaimRequest(name=one_of("claims", claim), project=_parent(project))
    async with call.client() as client:
        found = (await client.claims.renew_claim(request)).claim or m.Claim()
    show(call.screen, found, output, lambda: claim_view.describe(call.screen, found))


@command(app, "release")
async def release(call: Call, claim: Id, *, project: Project = "", output: Output = Format.TABLE) -> None:
    """Give a claim up, held or waiting.

    Examples:
    arwctl claim release 0f8fad5b-d9cb-469f-a165-70867728950e
    """
    request = m.ReleaseClaimRequest(name=one_of("claims", claim), project=_parent(project))
    async with call.client() as client:
        found = (await client.claims.release_claim(request)).claim or m.Claim()
    show(call.screen, found, output, lambda: call.screen.line(claim_view.line(found)))


@command(app, "revoke")
async def revoke(
    call: Call,
    claim: Id,
    *,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="For its holder.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Take a claim away from its holder.

    Examples:
    arwctl claim revoke 0f8fad5b-d9cb-469f-a165-70867728950e --why "The machine is needed."
    """
    request = m.RevokeClaimRequest(name=one_of("claims", claim), why=why)
    async with call.client() as client:
        found = (await client.claims.revoke_claim(request)).claim or m.Claim()
    show(call.screen, found, output, lambda: call.screen.line(claim_view.line(found)))


@command(app, "list")
async def list_claims(
    call: Call,
    *,
    project: Annotated[str, typer.Option("--project", "-p", metavar="ID", help="Only this project's.")] = "",
    runtime: Annotated[str, typer.Option("--runtime", metavar="ID", help="Only those that hold this runtime.")] = "",
    live: Annotated[bool, typer.Option("--live", help="Only those that are not over.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """List claims, the oldest first. Those that are over are kept for a day.

    Examples:
    arwctl claim list --live
    arwctl claim list --project team-a -o json
    """
    held = resource_name("runtimes", runtime) if runtime else ""
    async with call.client() as client:
        found = [claim async for claim in client.claims.each(_parent(project), held, live=live)]
    found.sort(key=lambda claim: (claim.create_time is not None and claim.create_time.timestamp(), claim.id))
    listing(call.screen, found, output, claim_view.CLAIMS)


@command(app, "show")
async def show_claim(call: Call, claim: Id, *, output: Output = Format.TABLE) -> None:
    """Show one claim: what it asks for, what it has, what it waits for, and why it ended.

    Examples:
    arwctl claim show 0f8fad5b-d9cb-469f-a165-70867728950e
    """
    async with call.client() as client:
        found = (await client.claims.get_claim(m.GetClaimRequest(name=one_of("claims", claim)))).claim or m.Claim()
    show(call.screen, found, output, lambda: claim_view.describe(call.screen, found))


@command(app, "watch")
async def watch(
    call: Call,
    claim: Annotated[
        str, typer.Argument(metavar="[CLAIM]", help="Only this one, to its end.", show_default=False)
    ] = "",
    *,
    project: Annotated[str, typer.Option("--project", "-p", metavar="ID", help="Only this project's.")] = "",
    output: Output = Format.TABLE,
) -> int:
    """Tell each change of claims, also after the control plane was away. Of one claim: until it is over.

    Exit code 1: it was not its holder who ended it.

    Examples:
    arwctl claim watch 0f8fad5b-d9cb-469f-a165-70867728950e
    arwctl claim watch --project team-a -o json
    """
    name = one_of("claims", claim) if claim else ""
    said: dict[str, str] = {}
    async with aclosing(changes(call, m.WatchClaimsRequest(name=name, project=_parent(project)))) as heard:
        async for found in heard:
            if said.get(found.id) != (line := claim_view.line(found)):
                _tell(call, found, line, output)
            said[found.id] = line
            if name and found.state in OVER:
                return ExitCode.OK if found.state is m.ClaimState.RELEASED else ExitCode.FAILED
    return ExitCode.OK


def _tell(call: Call, claim: m.Claim, line: str, output: Format) -> None:
    """One line of text or of JSON, or a YAML document."""
    if output is Format.TABLE:
        call.screen.line(one_line(line))
    elif output is Format.JSON:
        call.screen.write(json.dumps(document(claim)) + "\n")
    else:
        call.screen.write("---\n")
        emit(call.screen, document(claim), output)


def _parent(project: str) -> str:
    """Its resource name; empty: none was named."""
    return resource_name("projects", project) if project else ""
