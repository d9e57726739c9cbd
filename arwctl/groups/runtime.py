"""Runtimes: declare, watch, restore, stop, explain."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from arw_client import ArwError, Client, UnreachableError, display_id
from arw_client import messages as m
from arwctl import applying, execution, manifest, measured, profile_view, project_view, runtime_set, status_view
from arwctl.command import Call, Output, command, group
from arwctl.format import Format
from arwctl.groups import adapters, manifests, matrix, profiles, residence, runtime_jobs, runtime_logs, scaling
from arwctl.output import Columns, document, emit, listing, show, slug
from arwctl.plain import one_line, plain
from arwctl.readiness import SERVES, Waiting, standing
from arwctl.screen import BOLD, GREEN, YELLOW
from arwctl.status_view import Status
from arwctl.targets import RuntimeArgument, RuntimeOption, one_of, seconds

app = group("Declare, watch, restore, stop and explain runtimes.")
app.add_typer(adapters.app, name="adapters")
app.add_typer(profiles.app, name="profile")

Wait = Annotated[bool, typer.Option("--wait", help="Until it serves.")]
Timeout = Annotated[str, typer.Option("--timeout", help="For --wait, such as 90s or 5m.")]
AsJson = Annotated[bool, typer.Option("--json", help="The same as --output json.")]


def columns(found: Sequence[m.Runtime]) -> Columns[m.Runtime]:
    """`found`: all that are listed, for each may tell of others."""
    return Columns(
        ("runtime", "state", "node", "model", "auto start", "replicas", "mode", "engine"),
        lambda runtime: (
            runtime.id,
            runtime.instance.state_label if runtime.instance else "No place",
            display_id(runtime.node) or "-",
            display_id(runtime.spec.model) if runtime.spec else "-",
            "yes" if runtime.spec and runtime.spec.auto_start else "no",
            runtime_set.told(runtime, found),
            execution.mode(runtime.instance) or "-",
            (runtime.instance.engine if runtime.instance else "") or "-",
        ),
        "No runtime is declared. Declare one with `arwctl runtime apply -f FILE`.",
    )


@command(app, "apply")
async def apply(
    call: Call,
    *,
    file: Annotated[Path, typer.Option("--file", "-f", help="Manifest, TOML or JSON; -: standard input.")],
    wait: Wait = False,
    patience: Timeout = "5m",
    validate_only: Annotated[bool, typer.Option("--validate-only", help="Check, change nothing.")] = False,
    prune: manifests.Prune = False,
    output: Output = Format.TABLE,
) -> None:
    """Declare the runtimes of a manifest, and the models it brings. The same again changes nothing.

    Examples:
    arwctl runtime apply -f fleet.toml --wait
    arwctl runtime apply -f fleet.toml --validate-only
    arwctl runtime apply -f fleet.toml --prune
    arwctl runtime apply -f - < fleet.toml
    """
    declared, patience_s = manifest.read(file, prune=prune), seconds(patience)
    async with call.client(timeout_s=30) as client:
        applied = await applying.apply(client, call, declared, validate_only=validate_only, prune=prune)
        if output is Format.TABLE:
            applying.tell(call.screen, applied, validate_only=validate_only)
        else:
            emit(call.screen, [document(each) for each in applied], output)
        if wait and not validate_only:
            await applying.wait(client, call.screen, applied, patience_s)


command(app, "plan")(manifests.plan)
command(app, "diff")(manifests.diff)
command(app, "export")(manifests.export)
command(app, "matrix")(matrix.matrix)
command(app, "ensure-ready")(runtime_jobs.ensure_ready)
command(app, "probe")(runtime_jobs.probe)
command(app, "swap-model")(runtime_jobs.swap_model)
command(app, "scale")(scaling.scale)
command(app, "hibernate")(residence.hibernate)
command(app, "wake")(residence.wake)
command(app, "logs")(runtime_logs.logs)


@command(app, "attach")
async def attach(
    call: Call,
    *,
    url: Annotated[str, typer.Argument(envvar="ARW_LLAMA_URL", metavar="URL", help="Such as http://127.0.0.1:11434.")],
    id_: Annotated[str, typer.Option("--id", metavar="ID", help="Runtime id.")] = "external",
    model: Annotated[str, typer.Option("--model", help="What it calls the model, when it has several.")] = "",
    wait: Wait = False,
    patience: Timeout = "1m",
) -> None:
    """Use a server that runs already; it is never started or stopped from here.

    Examples:
    arwctl runtime attach http://127.0.0.1:8080 --wait
    arwctl runtime attach http://127.0.0.1:11434 --id ollama --model qwen3
    """
    patience_s = seconds(patience)
    async with call.client(timeout_s=30) as client:
        applied = await applying.apply(client, call, manifest.external(id_, url, model), validate_only=False)
        applying.tell(call.screen, applied, validate_only=False)
        if wait:
            await applying.wait(client, call.screen, applied, patience_s)


@command(app, "list")
async def list_runtimes(call: Call, *, output: Output = Format.TABLE) -> None:
    """List runtimes.

    Examples:
    arwctl runtime list
    arwctl runtime list -o json
    """
    async with call.client() as client:
        found = [runtime async for runtime in client.runtimes.each()]
    listing(call.screen, found, output, columns(found))


@command(app, "get")
async def get(
    call: Call, *, runtime: RuntimeArgument = None, id_: RuntimeOption = None, output: Output = Format.TABLE
) -> None:
    """Show one runtime, and what it was seen to take and to give.

    Examples:
    arwctl runtime get tiny-chat
    """
    name = one_of("runtimes", runtime, id_)
    async with call.client() as client:
        found = (await client.runtimes.get_runtime(m.GetRuntimeRequest(name=name))).runtime or m.Runtime()
        rows = await runtime_set.members(client, found)
    show(call.screen, found, output, lambda: _describe(call, found, rows))


def _describe(call: Call, runtime: m.Runtime, rows: Sequence[m.Runtime]) -> None:
    spec, instance = runtime.spec or m.RuntimeSpec(), runtime.instance
    facts = [
        ("Runtime", runtime.id),
        ("State", standing(runtime)),
        ("Node", display_id(runtime.node) or "-"),
        ("Replicas", runtime_set.told(runtime, rows)),
        ("Adapter", spec.adapter),
        ("Model", display_id(spec.model) or "-"),
        ("Engine", (instance.engine if instance else "") or "-"),
        *residence.facts(runtime),
        *measured.facts(instance),
    ]
    for name, value in facts:
        call.screen.line(f"{name + ':':20}{value}")


@command(app, "status")
async def status(
    call: Call,
    *,
    runtime: RuntimeArgument = None,
    id_: RuntimeOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Print again after each change.")] = False,
    as_json: AsJson = False,
    output: Output = Format.TABLE,
) -> None:
    """Show every runtime with its health and budget, and the matrix of nodes.

    Examples:
    arwctl runtime status
    arwctl runtime status tiny-chat --watch
    arwctl runtime status --json
    """
    form = Format.JSON if as_json else output
    wanted = display_id(one_of("runtimes", runtime, id_)) if runtime or id_ else ""
    async with call.client() as client:
        found = await status_view.fetch(client, wanted)
        if wanted and not found.supervisor.runtimes:
            raise ArwError("NOT_FOUND", f"There is no runtime {wanted!r}.", "See `arwctl runtime list`.")
        _print(call, found, form, once=not watch)
        if watch:
            await _watch(call, client, wanted, form)


def _print(call: Call, found: Status, form: Format, *, once: bool) -> None:
    if form is Format.TABLE:
        status_view.print_status(call.screen, found)
    elif once:
        emit(call.screen, found.document(), form)
    else:
        call.screen.write(json.dumps(found.document()) + "\n")


async def _watch(call: Call, client: Client, wanted: str, form: Format) -> None:
    """Until interrupted: each change of a runtime prints the whole view again, one line of JSON or a page."""
    while True:
        try:
            async for change in client.runtimes.watch_runtimes(m.WatchRuntimesRequest()):
                if not change.synced and (not wanted or (change.runtime and change.runtime.id == wanted)):
                    _print(call, await status_view.fetch(client, wanted), form, once=False)
        except UnreachableError as error:
            call.screen.note(f"{one_line(error.text)} Trying again.")
        await asyncio.sleep(1)


@command(app, "restore")
async def restore(
    call: Call,
    *,
    runtime: RuntimeArgument = None,
    id_: RuntimeOption = None,
    restart: Annotated[bool, typer.Option("--restart", help="Also when it runs.")] = False,
    reset_budget: Annotated[bool, typer.Option("--reset-budget", help="Forget the restarts counted so far.")] = False,
    wait: Wait = False,
    patience: Timeout = "5m",
) -> None:
    """Start a runtime that is stopped or failed.

    Examples:
    arwctl runtime restore tiny-chat --wait
    arwctl runtime restore tiny-chat --reset-budget
    """
    name = one_of("runtimes", runtime, id_)
    request = m.RestoreRuntimeRequest(name=name, restart=restart, reset_budget=reset_budget)
    async with call.client() as client:
        accepted = (await client.runtimes.restore_runtime(request)).runtime or m.Runtime()
        call.screen.line(f"{accepted.id}: restore accepted{_budget(accepted)}")
        if wait:
            outdated = {m.InstanceState.ERROR} | (SERVES if restart else set())
            rows = await runtime_set.members(client, accepted)
            await Waiting(client, call.screen, rows, outdated).until_ready(seconds(patience))
            call.screen.line(f"{accepted.id}: ready")


def _budget(runtime: m.Runtime) -> str:
    budget = runtime.instance.restart_budget if runtime.instance else None
    return f", {budget.remaining} of {budget.max_restarts} automatic restarts left" if budget else ""


@command(app, "shutdown")
async def shutdown(call: Call, *, runtime: RuntimeArgument = None, id_: RuntimeOption = None) -> None:
    """Stop a runtime until it is restored.

    Examples:
    arwctl runtime shutdown tiny-chat
    """
    name = one_of("runtimes", runtime, id_)
    async with call.client() as client:
        answer = await client.runtimes.shutdown_runtime(m.ShutdownRuntimeRequest(name=name))
    call.screen.line(f"{display_id(name)}: shutdown accepted, {standing(answer.runtime or m.Runtime())}")


@command(app, "delete")
async def delete(call: Call, *, runtime: RuntimeArgument = None, id_: RuntimeOption = None) -> None:
    """Stop a runtime and forget it.

    Examples:
    arwctl runtime delete tiny-chat
    """
    name = one_of("runtimes", runtime, id_)
    async with call.client() as client:
        await client.runtimes.delete_runtime(m.DeleteRuntimeRequest(name=name))
    call.screen.line(f"{display_id(name)}: deleted")


@command(app, "explain")
async def explain(
    call: Call, *, runtime: RuntimeArgument = None, id_: RuntimeOption = None, output: Output = Format.TABLE
) -> None:
    """Say, for each node, why a runtime runs there or not; and how its engine is to run, and who says so.

    Examples:
    arwctl runtime explain tiny-chat
    """
    name = one_of("runtimes", runtime, id_)
    async with call.client() as client:
        answer = await client.runtimes.explain_runtime(m.ExplainRuntimeRequest(name=name))
        pins = await project_view.touching(client, name)
    if output is Format.TABLE:
        _explain(call, answer, [f"project {project} pins {project_view.pinned(pin)}" for project, pin in pins])
    else:
        held = [{"project": project, **document(pin)} for project, pin in pins]
        emit(call.screen, {**document(answer), "pins": held}, output)


def _explain(call: Call, answer: m.ExplainRuntimeResponse, pins: Sequence[str]) -> None:
    runtime = answer.runtime or m.Runtime()
    call.screen.line(f"{runtime_set.named(runtime)}: {standing(runtime)}")
    if runtime.instance and runtime.instance.ready_time is None and runtime.instance.problem:
        call.screen.line(f"  next: {runtime.instance.problem.remedy}")
    if runs := execution.standing(runtime.instance):
        call.screen.line(f"  {runs}")
    troubles = (f"{problem.text} {problem.remedy}" for problem in (runtime.stuck, answer.waits) if problem)
    for line in (*troubles, *pins, *profile_view.intents(answer)):
        call.screen.line(f"  {line}")
    for copy in answer.copies:
        node = display_id(copy.name.partition("/instances/")[0])
        call.screen.line(f"  left on {node}: {copy.state_label}; it serves nothing, and stops when {node} hears of it")
    for verdict in answer.verdicts:
        mark = call.screen.coloured("chosen" if verdict.chosen else "would do", GREEN if verdict.chosen else BOLD)
        if verdict.problems:
            mark = call.screen.coloured("not possible", YELLOW)
        call.screen.write(f"  {plain(display_id(verdict.node))}: {mark}, score {verdict.score}\n")
        for reason in verdict.score_reasons:
            call.screen.line(f"      {reason}")
        for problem in verdict.problems:
            call.screen.line(f"      {slug(problem.reason)}: {problem.text} {problem.remedy}")
