"""Machines: list, show, admit, label, drain, revoke; let held removals through."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Annotated

import typer

from arw_client import ArwError, display_id
from arw_client import messages as m
from arwctl import devices, draining, execution, owner_limits, sandbox
from arwctl.command import Call, Output, command, group
from arwctl.format import Format
from arwctl.groups import tokens
from arwctl.output import Columns, listing, pairs, show, when
from arwctl.targets import NodeArgument, NodeOption, key_values, one_of, seconds

app = group("See, admit, label, drain and revoke machines.")
app.add_typer(tokens.app, name="token")


NODES = Columns[m.Node](
    ("node", "state", "agent", "accelerators", "labels", "last contact"),
    lambda node: (
        display_id(node.name),
        node.state_label + ("" if node.schedulable else ", cordoned") + (", drained" if node.drain else ""),
        node.agent_version or "-",
        devices.names(node),
        pairs(node.labels),
        when(node.last_contact_time),
    ),
    "No node has joined. Start one on this machine with `arwctl up`.",
)


@command(app, "list")
async def list_nodes(call: Call, output: Output = Format.TABLE) -> None:
    """List machines.

    Examples:
    arwctl nodes list
    arwctl nodes list -o json
    """
    async with call.client() as client:
        nodes = [node async for node in client.nodes.each()]
    listing(call.screen, nodes, output, NODES)


@command(app, "show")
async def show_node(
    call: Call, node: NodeArgument = None, id_: NodeOption = None, output: Output = Format.TABLE
) -> None:
    """Show one machine.

    Examples:
    arwctl nodes show laptop
    """
    found = await _get(call, one_of("nodes", node, id_))
    show(call.screen, found, output, lambda: _describe(call, found))


async def _get(call: Call, name: str) -> m.Node:
    async with call.client() as client:
        return (await client.nodes.get_node(m.GetNodeRequest(name=name))).node or m.Node()


def _describe(call: Call, node: m.Node) -> None:
    inventory = node.inventory or m.NodeInventory()
    facts = [
        ("Node", display_id(node.name)),
        ("State", f"{node.state_label} - {node.summary}"),
        ("Takes new runtimes", _takes(node)),
        *draining.facts(node),
        *([("Given up", "until it is heard again")] if node.given_up else []),
        ("Labels", pairs(node.labels)),
        ("System", f"{inventory.os} {inventory.os_release} {inventory.arch}"),
        ("Resources", f"{inventory.cpu_cores} cores, {inventory.memory_bytes / 2**30:.1f} GiB{_beyond(node)}"),
        *devices.facts(node),
        ("Engines", ", ".join(map(execution.engine, inventory.engines)) or "-"),
        *execution.facts(inventory.execution),
        *sandbox.facts(inventory.sandbox),
        *owner_limits.facts(inventory.limits),
        ("Agent", f"{node.agent_version or '-'}, pid {node.agent_pid or '-'}"),
        ("Last contact", when(node.last_contact_time)),
        ("Certificate ends", when(node.certificate_expire_time)),
        ("Machine id hash", node.machine_id_hash or "-"),
    ]
    facts += [("Problem", f"{problem.text} {problem.remedy}") for problem in node.problems]
    facts += [("Removal held back", runtime) for runtime in _held(node.held_removals)]
    for name, value in facts:
        call.screen.line(f"{name + ':' if name else '':20}{value}")


def _takes(node: m.Node) -> str:
    why = [*([] if node.schedulable else ["cordoned"]), *(["drained"] if node.drain else [])]
    return f"no ({', '.join(why)})" if why else "yes"


def _beyond(node: m.Node) -> str:
    return ", may be overcommitted" if node.overcommit else ""


def _held(removals: list[m.HeldRemoval]) -> list[str]:
    return [display_id(removal.instance.partition("/instances")[2]) for removal in removals]


@command(app, "approve")
async def approve(call: Call, node: NodeArgument = None, id_: NodeOption = None) -> None:
    """Let in a machine that waits for approval, or is quarantined.

    Examples:
    arwctl nodes approve laptop
    """
    name = one_of("nodes", node, id_)
    async with call.client() as client:
        answer = await client.nodes.approve_node(m.ApproveNodeRequest(name=name))
    _done(call, answer.node, "approved")


@command(app, "revoke")
async def revoke(call: Call, node: NodeArgument = None, id_: NodeOption = None) -> None:
    """Cut a machine off for good; it returns only with a new token.

    Examples:
    arwctl nodes revoke laptop
    """
    name = one_of("nodes", node, id_)
    async with call.client() as client:
        answer = await client.nodes.revoke_node(m.RevokeNodeRequest(name=name))
    _done(call, answer.node, "revoked")


@command(app, "drain")
async def drain(
    call: Call,
    *,
    node: NodeArgument = None,
    id_: NodeOption = None,
    within: Annotated[
        str, typer.Option("--within", help="Then stop what fits nowhere else, such as 90s, 15m or 1h; else it stays.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Until nothing is left there.")] = False,
    patience: Annotated[str, typer.Option("--timeout", help="For --wait, such as 90s or 5m.")] = "30m",
) -> None:
    """Move what runs on a machine elsewhere, and keep it empty until it is resumed.

    Examples:
    arwctl nodes drain laptop --wait
    arwctl nodes drain laptop --within 15m
    """
    name, patience_s = one_of("nodes", node, id_), seconds(patience)
    time = timedelta(seconds=seconds(within)) if within else None
    async with call.client() as client:
        answer = await client.nodes.drain_node(m.DrainNodeRequest(name=name, within=time))
        _done(call, answer.node, "is being drained")
        if wait:
            await draining.until_empty(client, call.screen, name, patience_s)
            call.screen.line(f"{display_id(name)}: nothing is left there")


@command(app, "resume")
async def resume(call: Call, node: NodeArgument = None, id_: NodeOption = None) -> None:
    """End the drain of a machine; what left it stays where it is.

    Examples:
    arwctl nodes resume laptop
    """
    name = one_of("nodes", node, id_)
    async with call.client() as client:
        answer = await client.nodes.resume_node(m.ResumeNodeRequest(name=name))
    _done(
        call, answer.node, "takes runtimes" if (answer.node or m.Node()).schedulable else "drained no longer, cordoned"
    )


@command(app, "resume-placement")
async def resume_placement(call: Call) -> None:
    """Give up machines that fell silent so many at once that nothing is moved away from them.

    Examples:
    arwctl nodes resume-placement
    """
    async with call.client() as client:
        found = (await client.nodes.resume_placement(m.ResumePlacementRequest())).nodes
    for node in found:
        call.screen.line(f"{display_id(node.name)}: given up until it is heard again")
    if not found:
        call.screen.line("Nothing is held: no such part of the machines fell silent at once.")


@command(app, "allow-removals")
async def allow_removals(
    call: Call,
    *,
    node: NodeArgument = None,
    id_: NodeOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Let a machine stop at once what it was told to remove and holds back.

    Examples:
    arwctl nodes allow-removals laptop
    arwctl nodes allow-removals laptop --yes
    """
    name = one_of("nodes", node, id_)
    found = await _get(call, name)
    if not found.held_removals:
        raise ArwError("NOTHING_HELD", f"{display_id(name)} holds back no removal.", "There is nothing to allow.")
    call.screen.line(f"{display_id(name)} holds back these removals; the runtimes run on:")
    for runtime in _held(found.held_removals):
        call.screen.line(f"  {runtime}")
    if not yes:
        _ask()
    async with call.client() as client:
        answer = await client.nodes.allow_removals(m.AllowRemovalsRequest(name=name, removals=found.held_removals))
    call.screen.line(f"{display_id(name)}: told to stop {', '.join(_held(answer.allowed))}")


def _ask() -> None:
    if not sys.stdin.isatty():
        raise ArwError("NOT_CONFIRMED", "Nobody is here to be asked.", "When all of these may stop, repeat with --yes.")
    if not typer.confirm("Stop them all now?"):
        raise ArwError("NOT_CONFIRMED", "Nothing was changed.", "To keep them, declare them again.")


@command(app, "update")
async def update(
    call: Call,
    *,
    node: NodeArgument = None,
    id_: NodeOption = None,
    label: tokens.Labels = [],  # noqa: B006 - typer's way to say "none"
    remove_label: Annotated[list[str], typer.Option(metavar="KEY", help="Drop a label; repeatable.")] = [],  # noqa: B006
    cordon: Annotated[bool | None, typer.Option("--cordon/--uncordon", help="Give it nothing new, or again.")] = None,
    overcommit: Annotated[
        bool | None, typer.Option("--overcommit/--no-overcommit", help="Let runtimes need more memory than it has.")
    ] = None,
) -> None:
    """Change labels, or whether a machine gets new runtimes, and how many.

    Examples:
    arwctl nodes update laptop --label gpu=yes --remove-label old
    arwctl nodes update laptop --cordon
    """
    name, added = one_of("nodes", node, id_), key_values(label)
    async with call.client() as client:
        found = (await client.nodes.get_node(m.GetNodeRequest(name=name))).node or m.Node()
        kept = {key: value for key, value in found.labels.items() if key not in remove_label}
        schedulable = found.schedulable if cordon is None else not cordon
        beyond = found.overcommit if overcommit is None else overcommit
        wanted = m.Node(
            name=name, etag=found.etag, labels={**kept, **added}, schedulable=schedulable, overcommit=beyond
        )
        mask = m.FieldMask(paths=["labels", "schedulable", "overcommit"]) if overcommit is not None else None
        answer = await client.nodes.update_node(m.UpdateNodeRequest(node=wanted, update_mask=mask))
    _done(call, answer.node, "updated")


def _done(call: Call, node: m.Node | None, what: str) -> None:
    node = node or m.Node()
    call.screen.line(f"{display_id(node.name)}: {what} ({node.state_label})")
