"""Runtimes: declare, watch, restore, stop, explain."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from arw_client import ArwError, Client, UnreachableError, display_id
from arw_client import messages as m
from arwctl import applying, execution, manifest, measured, status_view
from arwctl.command import Call, Output, command, group
from arwctl.format import Format
from arwctl.groups import adapters, manifests, matrix, runtime_jobs
from arwctl.log_archive import LIMIT_BYTES, LogArchive
from arwctl.output import Columns, document, emit, listing, show, slug
from arwctl.plain import one_line, plain
from arwctl.progress import byte_bar
from arwctl.readiness import SERVES, Waiting, standing
from arwctl.screen import BOLD, GREEN, YELLOW
from arwctl.status_view import Status
from arwctl.targets import one_of, seconds

app = group("Declare, watch, restore, stop and explain runtimes.")
app.add_typer(adapters.app, name="adapters")

IdArgument = Annotated[str | None, typer.Argument(metavar="ID", help="Runtime id.", show_default=False)]
IdOption = Annotated[str | None, typer.Option("--id", "--runtime", metavar="ID", help="Runtime id.")]
Wait = Annotated[bool, typer.Option("--wait", help="Until it serves.")]
Timeout = Annotated[str, typer.Option("--timeout", help="For --wait, such as 90s or 5m.")]
AsJson = Annotated[bool, typer.Option("--json", help="The same as --output json.")]

RUNTIMES = Columns[m.Runtime](
    ("runtime", "state", "node", "model", "auto start", "mode", "engine"),
    lambda runtime: (
        runtime.id,
        runtime.instance.state_label if runtime.instance else "No place",
        display_id(runtime.node) or "-",
        display_id(runtime.spec.model) if runtime.spec else "-",
        "yes" if runtime.spec and runtime.spec.auto_start else "no",
        execution.mode(runtime.instance) or "-",
        (runtime.instance.engine if runtime.instance else "") or "-",
    ),
    "No runtime is declared. Declare one with `arwctl runtime apply -f FILE`.",
)


@command(app, "apply")
async def apply(
    call: Call,
    *,
    file: Annotated[Path, typer.Option("--file", "-f", help="Manifest, TOML or JSON.")],
    wait: Wait = False,
    patience: Timeout = "5m",
    validate_only: Annotated[bool, typer.Option("--validate-only", help="Check, change nothing.")] = False,
    prune: manifests.Prune = False,
    output: Output = Format.TABLE,
) -> None:
    """Declare the runtimes of a manifest, and the models it brings. The same again changes nothing."""
    declared, patience_s = manifest.read(file), seconds(patience)
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
    """Use a server that runs already; it is never started or stopped from here."""
    patience_s = seconds(patience)
    async with call.client(timeout_s=30) as client:
        applied = await applying.apply(client, call, manifest.external(id_, url, model), validate_only=False)
        applying.tell(call.screen, applied, validate_only=False)
        if wait:
            await applying.wait(client, call.screen, applied, patience_s)


@command(app, "list")
async def list_runtimes(call: Call, *, output: Output = Format.TABLE) -> None:
    """List runtimes."""
    async with call.client() as client:
        found = [runtime async for runtime in client.runtimes.each()]
    listing(call.screen, found, output, RUNTIMES)


@command(app, "get")
async def get(call: Call, *, runtime: IdArgument = None, id_: IdOption = None, output: Output = Format.TABLE) -> None:
    """Show one runtime, and what it was seen to take and to give."""
    name = one_of("runtimes", runtime, id_)
    async with call.client() as client:
        found = (await client.runtimes.get_runtime(m.GetRuntimeRequest(name=name))).runtime or m.Runtime()
    show(call.screen, found, output, lambda: _describe(call, found))


def _describe(call: Call, runtime: m.Runtime) -> None:
    spec, instance = runtime.spec or m.RuntimeSpec(), runtime.instance
    facts = [
        ("Runtime", runtime.id),
        ("State", standing(runtime)),
        ("Node", display_id(runtime.node) or "-"),
        ("Adapter", spec.adapter),
        ("Model", display_id(spec.model) or "-"),
        ("Engine", (instance.engine if instance else "") or "-"),
        *measured.facts(instance),
    ]
    for name, value in facts:
        call.screen.line(f"{name + ':':20}{value}")


@command(app, "status")
async def status(
    call: Call,
    *,
    runtime: IdArgument = None,
    id_: IdOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Print again after each change.")] = False,
    as_json: AsJson = False,
    output: Output = Format.TABLE,
) -> None:
    """Show every runtime with its health and budget, and the matrix of nodes."""
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
    runtime: IdArgument = None,
    id_: IdOption = None,
    restart: Annotated[bool, typer.Option("--restart", help="Also when it runs.")] = False,
    reset_budget: Annotated[bool, typer.Option("--reset-budget", help="Forget the restarts counted so far.")] = False,
    wait: Wait = False,
    patience: Timeout = "5m",
) -> None:
    """Start a runtime that is stopped or failed."""
    name = one_of("runtimes", runtime, id_)
    request = m.RestoreRuntimeRequest(name=name, restart=restart, reset_budget=reset_budget)
    async with call.client() as client:
        accepted = (await client.runtimes.restore_runtime(request)).runtime or m.Runtime()
        call.screen.line(f"{accepted.id}: restore accepted{_budget(accepted)}")
        if wait:
            outdated = {m.InstanceState.ERROR} | (SERVES if restart else set())
            await Waiting(client, call.screen, [accepted], outdated).until_ready(seconds(patience))
            call.screen.line(f"{accepted.id}: ready")


def _budget(runtime: m.Runtime) -> str:
    budget = runtime.instance.restart_budget if runtime.instance else None
    return f", {budget.remaining} of {budget.max_restarts} automatic restarts left" if budget else ""


@command(app, "shutdown")
async def shutdown(call: Call, *, runtime: IdArgument = None, id_: IdOption = None) -> None:
    """Stop a runtime until it is restored."""
    name = one_of("runtimes", runtime, id_)
    async with call.client() as client:
        answer = await client.runtimes.shutdown_runtime(m.ShutdownRuntimeRequest(name=name))
    call.screen.line(f"{display_id(name)}: shutdown accepted, {standing(answer.runtime or m.Runtime())}")


@command(app, "delete")
async def delete(call: Call, *, runtime: IdArgument = None, id_: IdOption = None) -> None:
    """Stop a runtime and forget it."""
    name = one_of("runtimes", runtime, id_)
    async with call.client() as client:
        await client.runtimes.delete_runtime(m.DeleteRuntimeRequest(name=name))
    call.screen.line(f"{display_id(name)}: deleted")


@command(app, "logs")
async def logs(
    call: Call,
    *,
    runtime: IdArgument = None,
    id_: IdOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    tail: Annotated[int, typer.Option(help="Lines from the end.", min=1, max=10000)] = 100,
    archive: Annotated[
        Path | None, typer.Option("--archive", metavar="FILE.tar.gz", help="All kept logs of all launches.")
    ] = None,
) -> None:
    """Print the engine's own log, or save all of it."""
    name = one_of("runtimes", runtime, id_)
    if archive is not None:
        await _save(call, name, archive)
        return
    request = m.StreamLogsRequest(name=name, tail_lines=tail, follow=follow)
    async with call.client() as client:
        async for part in client.runtimes.stream_logs(request):
            if part.dropped_bytes:
                call.screen.note(f"{part.dropped_bytes} bytes were dropped: reading was too slow.", YELLOW)
            call.screen.write(plain(part.data.decode(errors="replace").replace("\r\n", "\n")))


async def _save(call: Call, name: str, path: Path) -> None:
    id_, dropped = display_id(name), 0
    request = m.StreamLogsRequest(name=name, whole=True)
    with LogArchive(path, id_.replace("/", "__")) as made, byte_bar(call.screen, f"logs of {id_}") as progress:
        async with call.client() as client:
            async for part in client.runtimes.stream_logs(request):
                dropped += part.dropped_bytes
                if made.full:
                    raise ArwError("INTERNAL", f"The logs of {id_} are larger than {LIMIT_BYTES >> 20} MiB.")
                if part.data:
                    await asyncio.to_thread(made.add, part.incarnation, part.data)
                progress(made.size_bytes, None)
    if dropped:
        call.screen.note(f"{dropped} bytes were dropped: reading was too slow.", YELLOW)
    call.screen.line(f"{path}: {made.launches} launches, {made.size_bytes} bytes of log")


@command(app, "explain")
async def explain(
    call: Call, *, runtime: IdArgument = None, id_: IdOption = None, output: Output = Format.TABLE
) -> None:
    """Say, for each node, why a runtime runs there or not."""
    name = one_of("runtimes", runtime, id_)
    async with call.client() as client:
        answer = await client.runtimes.explain_runtime(m.ExplainRuntimeRequest(name=name))
    show(call.screen, answer, output, lambda: _explain(call, answer))


def _explain(call: Call, answer: m.ExplainRuntimeResponse) -> None:
    runtime = answer.runtime or m.Runtime()
    call.screen.line(f"{runtime.id}: {standing(runtime)}")
    if runtime.instance and runtime.instance.ready_time is None and runtime.instance.problem:
        call.screen.line(f"  next: {runtime.instance.problem.remedy}")
    if runs := execution.standing(runtime.instance):
        call.screen.line(f"  {runs}")
    for problem in (runtime.stuck, answer.waits):
        if problem:
            call.screen.line(f"  {problem.text} {problem.remedy}")
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
