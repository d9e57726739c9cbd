"""The key that signs all certificates: see it, and put another in its place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from arw_client import ArwError, TimedOutError
from arw_client import messages as m
from arwctl.command import Call, Output, command, group
from arwctl.format import Format
from arwctl.output import show, when
from arwctl.rotation import next_step
from arwctl.targets import seconds

if TYPE_CHECKING:
    from arw_client.client import Client

app = group("See the authority that signs all certificates, and put another in its place.")

Force = Annotated[bool, typer.Option("--force", help="Leave out who is not ready: they have to join again.")]
Step = Callable[["Client"], Awaitable[m.CertificateAuthorities | None]]
ID_SHOWN = 12
LOOK_EVERY_S = 1.0
WITHIN = "25h"
"""Longer than a node's certificate lives: one that is not heard for so long holds nothing up."""


@command(app, "show")
async def show_authorities(call: Call, output: Output = Format.TABLE) -> None:
    """Show every authority, who has certificates of it, and who does not trust the new one yet.

    Examples:
    arwctl admin ca show
    arwctl admin ca show -o json
    """
    await _take(call, output, _listed)


@command(app, "prepare")
async def prepare(call: Call, output: Output = Format.TABLE) -> None:
    """Make another key. All learn to trust it; it signs nothing yet.

    Examples:
    arwctl admin ca prepare
    """
    await _take(call, output, _prepared)


@command(app, "activate")
async def activate(call: Call, *, force: Force = False, output: Output = Format.TABLE) -> None:
    """Have the prepared key sign from now on. Refused while a node does not trust it yet.

    Examples:
    arwctl admin ca activate
    arwctl admin ca activate --force
    """
    await _take(call, output, _forced(call, _activated) if force else _activated)


@command(app, "taint")
async def taint(call: Call, output: Output = Format.TABLE) -> None:
    """Have everything renewed now that the key before has signed.

    Examples:
    arwctl admin ca taint
    """
    await _take(call, output, _tainted)


@command(app, "revoke")
async def revoke(call: Call, *, force: Force = False, output: Output = Format.TABLE) -> None:
    """Refuse all that the key before has signed. Refused while somebody has nothing else.

    Examples:
    arwctl admin ca revoke
    arwctl admin ca revoke --force
    """
    await _take(call, output, _forced(call, _revoked) if force else _revoked)


@command(app, "rotate")
async def rotate(
    call: Call,
    *,
    within: Annotated[str, typer.Option("--within", metavar="TIME", help="Wait at most so long.")] = WITHIN,
    output: Output = Format.TABLE,
) -> None:
    """Take all four steps, and wait between them until nobody is left out. Goes on where it was cut off.

    Examples:
    arwctl admin ca rotate
    arwctl admin ca rotate --within 30m
    """
    until = time.monotonic() + seconds(within)
    while await _next(call, until) != "revoke":
        pass
    await _take(call, output, _listed)


async def _next(call: Call, until: float) -> str:
    """The step that was taken, once it could be."""
    waited = ""
    while True:
        async with call.client() as client:
            due = next_step(await _listed(client) or m.CertificateAuthorities())
            if not due.waits_for:
                await _STEPS[due.step](client)
                call.screen.note(f"{due.step}: done")
                return due.step
        if due.waits_for != waited:
            call.screen.note(f"{due.step}: waits for {due.waits_for}")
        waited = due.waits_for
        if time.monotonic() >= until:
            raise TimedOutError(
                f"The rotation still waits for {waited}.",
                "Run `arwctl admin ca rotate` again: it goes on from here. See `arwctl admin ca show`.",
            )
        await asyncio.sleep(LOOK_EVERY_S)


def _forced(call: Call, step: Callable[..., Awaitable[m.CertificateAuthorities | None]]) -> Step:
    """Says who is left out, if anybody is."""

    async def forced(client: Client) -> m.CertificateAuthorities | None:
        try:
            return await step(client)
        except ArwError as error:
            if error.reason != "IN_USE":
                raise
            call.screen.note(f"Left out: {error.text}")
        return await step(client, force=True)

    return forced


async def _take(call: Call, output: Format, step: Step) -> None:
    async with call.client() as client:
        found = await step(client) or m.CertificateAuthorities()
    show(call.screen, found, output, lambda: _describe(call, found))


def _describe(call: Call, found: m.CertificateAuthorities) -> None:
    call.screen.table(
        ("authority", "state", "since", "ends", "nodes", "operators"),
        [
            (one.id[:ID_SHOWN], one.state_label, when(one.change_time), when(one.expire_time), one.nodes, one.operators)
            for one in found.authorities
        ],
    )
    due = next_step(found)
    if due.waits_for:
        call.screen.note(f"The next step, {due.step}, waits for {due.waits_for}.")
    elif due.step != "prepare":
        call.screen.note(f"The next step: arwctl admin ca {due.step}")


async def _listed(client: Client) -> m.CertificateAuthorities | None:
    return (await client.authorities.list_authorities(m.ListAuthoritiesRequest())).authorities


async def _prepared(client: Client) -> m.CertificateAuthorities | None:
    return (await client.authorities.prepare_authority(m.PrepareAuthorityRequest())).authorities


async def _activated(client: Client, *, force: bool = False) -> m.CertificateAuthorities | None:
    return (await client.authorities.activate_authority(m.ActivateAuthorityRequest(force=force))).authorities


async def _tainted(client: Client) -> m.CertificateAuthorities | None:
    return (await client.authorities.taint_authority(m.TaintAuthorityRequest())).authorities


async def _revoked(client: Client, *, force: bool = False) -> m.CertificateAuthorities | None:
    return (await client.authorities.revoke_authority(m.RevokeAuthorityRequest(force=force))).authorities


_STEPS: dict[str, Step] = {"prepare": _prepared, "activate": _activated, "taint": _tainted, "revoke": _revoked}
