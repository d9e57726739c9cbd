"""The one-use tokens with which machines join."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from arw_client import display_id
from arw_client import messages as m
from arwctl.command import Call, Output, command, group
from arwctl.format import Format
from arwctl.output import Columns, document, emit, listing, pairs, when
from arwctl.targets import key_values, one_of, seconds

app = group("One-use tokens with which machines join.")

Labels = Annotated[list[str], typer.Option("--label", metavar="KEY=VALUE", help="A label; repeatable.")]

TOKENS = Columns[m.JoinToken](
    ("token", "for node", "approval", "labels", "expires", "used"),
    lambda token: (
        display_id(token.name),
        token.node_id or "any",
        "needed" if token.requires_approval else "no",
        pairs(token.labels),
        when(token.expire_time),
        when(token.use_time),
    ),
    "There are no join tokens. Make one with `arwctl nodes token create`.",
)


@command(app, "create")
async def create_token(
    call: Call,
    *,
    name: Annotated[str, typer.Option("--name", "--id", metavar="NODE", help="Bind it to this node id.")] = "",
    label: Labels = [],  # noqa: B006 - typer's way to say "none"
    ttl: Annotated[str, typer.Option(help="Life, such as 90s, 15m, 12h or 7d.")] = "15m",
    approval: Annotated[bool, typer.Option("--approval", help="The machine waits until you approve it.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Make a one-use token; it is shown once.

    Examples:
    arwctl nodes token create --ttl 15m > token
    arwctl nodes token create --name laptop --label room=lab --approval > token
    """
    request = m.CreateJoinTokenRequest(
        node_id=name, labels=key_values(label), ttl=timedelta(seconds=seconds(ttl)), requires_approval=approval
    )
    async with call.client() as client:
        answer = await client.nodes.create_join_token(request)
    if output is not Format.TABLE:
        emit(call.screen, document(answer), output)
        return
    call.screen.line(answer.secret_text)
    call.screen.note("On the new machine, paste the token into:")
    call.screen.note(f"  arw-node-agent join --server {answer.enrollment_address} --token-file -")


@command(app, "list")
async def list_tokens(call: Call, output: Output = Format.TABLE) -> None:
    """List tokens; their secrets are not kept.

    Examples:
    arwctl nodes token list
    """
    async with call.client() as client:
        found = [token async for token in client.nodes.each_token()]
    listing(call.screen, found, output, TOKENS)


@command(app, "delete")
async def delete_token(call: Call, token: Annotated[str, typer.Argument(metavar="TOKEN", help="Token id.")]) -> None:
    """Make a token useless.

    Examples:
    arwctl nodes token delete 7k2mq4x9
    """
    name = one_of("joinTokens", token)
    async with call.client() as client:
        await client.nodes.delete_join_token(m.DeleteJoinTokenRequest(name=name))
    call.screen.line(f"{display_id(name)}: deleted")
