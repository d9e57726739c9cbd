"""Projects: who may ask for inference by keys of its own, and which runtimes answer it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from arw_client import ArwError, resource_name
from arw_client import messages as m
from arwctl.command import Call, Output, command, group
from arwctl.format import Format
from arwctl.output import document, emit, listing, show
from arwctl.project_view import KEYS, PROJECTS, describe, state
from arwctl.screen import YELLOW
from arwctl.targets import one_of, seconds, value_of

app = group("Projects: their API keys, and the runtimes that they are pinned to.")
keys = group("API keys with which programs of a project ask for inference, and do nothing else.")
app.add_typer(keys, name="key")

Id = Annotated[str, typer.Argument(metavar="PROJECT", help="Project id.", show_default=False)]
Asked = Annotated[
    str, typer.Argument(metavar="NAME", help="As requests say it: a runtime's id or name, or a model's id.")
]
Name = Annotated[str | None, typer.Option("--name", metavar="TEXT", help="A name for people.", show_default=False)]
Etag = Annotated[str, typer.Option("--etag", help="Only if it was not changed since it had this etag.")]


@command(app, "create")
async def create(call: Call, project: Id, *, name: Name = None, output: Output = Format.TABLE) -> None:
    """Make a project.

    Examples:
    arwctl project create team-a --name "Team A"
    """
    request = m.CreateProjectRequest(project_id=project, display_name=name or "")
    async with call.client() as client:
        made = (await client.projects.create_project(request)).project or m.Project()
    show(call.screen, made, output, lambda: call.screen.line(f"{made.id}: created"))
    if output is Format.TABLE:
        call.screen.note(f"Make a key for it: arwctl project key create {made.id}")


@command(app, "list")
async def list_projects(call: Call, *, output: Output = Format.TABLE) -> None:
    """List projects.

    Examples:
    arwctl project list
    arwctl project list -o json
    """
    async with call.client() as client:
        found = [project async for project in client.projects.each()]
    listing(call.screen, found, output, PROJECTS)


@command(app, "show")
async def show_project(call: Call, project: Id, *, output: Output = Format.TABLE) -> None:
    """Show one project, and what each of its pins matches now.

    Examples:
    arwctl project show team-a
    """
    request = m.GetProjectRequest(name=one_of("projects", project))
    async with call.client() as client:
        found = (await client.projects.get_project(request)).project or m.Project()
    show(call.screen, found, output, lambda: describe(call.screen, found))


@command(app, "update")
async def update(
    call: Call,
    project: Id,
    *,
    name: Name = None,
    disable: Annotated[bool | None, typer.Option("--disable/--enable", help="Refuse its keys, or not.")] = None,
    etag: Etag = "",
    output: Output = Format.TABLE,
) -> None:
    """Name a project, refuse all of its keys, or take them again.

    Examples:
    arwctl project update team-a --disable
    arwctl project update team-a --enable --name "Team A"
    """
    said = {"display_name": name, "disabled": disable}
    paths = [field for field, value in said.items() if value is not None]
    if not paths:
        raise typer.BadParameter("say --name, --disable or --enable")
    wish = m.Project(name=one_of("projects", project), etag=etag, display_name=name or "", disabled=bool(disable))
    request = m.UpdateProjectRequest(project=wish, update_mask=m.FieldMask(paths=paths))
    async with call.client() as client:
        found = (await client.projects.update_project(request)).project or m.Project()
    show(call.screen, found, output, lambda: call.screen.line(f"{found.id}: updated ({state(found)})"))


@command(app, "delete")
async def delete(
    call: Call,
    project: Id,
    *,
    force: Annotated[bool, typer.Option("--force", help="Although it has keys that count.")] = False,
    etag: Etag = "",
) -> None:
    """Forget a project, its pins and its keys.

    Examples:
    arwctl project delete team-a --force
    """
    request = m.DeleteProjectRequest(name=one_of("projects", project), etag=etag, force=force)
    async with call.client() as client:
        await client.projects.delete_project(request)
    call.screen.line(f"{project}: deleted")


@command(app, "pin")
async def pin(
    call: Call,
    project: Id,
    asked: Asked,
    *,
    runtime: Annotated[str, typer.Option("--runtime", metavar="ID", help="Only this runtime.")] = "",
    node: Annotated[str, typer.Option("--node", metavar="NODE", help="Only on this machine.")] = "",
    adapter: Annotated[str, typer.Option("--adapter", help="Only by this adapter, such as llama.cpp.")] = "",
    accelerator: Annotated[str, typer.Option("--accelerator", help="Only on such a device, such as gpu_cuda.")] = "",
    mode: Annotated[str, typer.Option("--mode", help="Only run so: native or container.")] = "",
    profile: Annotated[str, typer.Option("--profile", help="Only those under this profile, such as silent.")] = "",
    fallback: Annotated[bool, typer.Option("--fallback", help="Others may serve while none of these does.")] = False,
    etag: Etag = "",
    output: Output = Format.TABLE,
) -> None:
    """Hold what a project asks for by one name to runtimes that are as said. Nothing is moved.

    Examples:
    arwctl project pin team-a tiny-chat --node box-1
    arwctl project pin team-a llama --accelerator gpu_cuda --fallback
    arwctl project pin team-a llama --profile silent
    """
    combination = m.Combination(
        runtime=resource_name("runtimes", runtime) if runtime else "",
        adapter=adapter,
        node=resource_name("nodes", node) if node else "",
        accelerator=value_of(m.AcceleratorKind, accelerator),
        execution_mode=value_of(m.ExecutionMode, mode),
        profile=profile,
    )
    wish = m.ProjectPin(asked=asked, combination=combination, fallback=fallback)
    request = m.SetProjectPinRequest(parent=one_of("projects", project), pin=wish, etag=etag)
    async with call.client() as client:
        answer = await client.projects.set_project_pin(request)
    show(call.screen, answer, output, lambda: describe(call.screen, answer.project or m.Project()))
    for warning in answer.warnings:
        call.screen.note(f"warning: {warning.text} {warning.remedy}", YELLOW)


@command(app, "unpin")
async def unpin(call: Call, project: Id, asked: Asked, *, etag: Etag = "", output: Output = Format.TABLE) -> None:
    """Let all runtimes that go by a name serve a project again.

    Examples:
    arwctl project unpin team-a tiny-chat
    """
    request = m.DeleteProjectPinRequest(parent=one_of("projects", project), asked=asked, etag=etag)
    async with call.client() as client:
        found = (await client.projects.delete_project_pin(request)).project or m.Project()
    show(call.screen, found, output, lambda: call.screen.line(f"{found.id}: {asked} is pinned no more"))


@command(keys, "create")
async def create_key(
    call: Call,
    project: Id,
    *,
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="What it is for.")] = "",
    ttl: Annotated[str, typer.Option("--ttl", help="Life, such as 12h or 90d; else it does not expire.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A new file for it, which only you can read.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Make an API key; it is shown once, on standard output or in a new file.

    Examples:
    arwctl project key create team-a --label ci --ttl 90d
    arwctl project key create team-a --out team-a.key
    """
    life = timedelta(seconds=seconds(ttl)) if ttl else None
    request = m.CreateProjectKeyRequest(parent=one_of("projects", project), label=label, ttl=life)
    with _kept(out) as kept:
        async with call.client() as client:
            answer = await client.projects.create_project_key(request)
        made = answer.key or m.ProjectKey()
        if kept is not None:
            _write(kept, answer.secret_text, f"arwctl project key revoke {project} {made.id}")
            answer.secret_text = ""
    if output is not Format.TABLE:
        emit(call.screen, document(answer), output)
    else:
        call.screen.line(f"{made.id}: written to {out}" if out else answer.secret_text)
        call.screen.note("Send it as 'Authorization: Bearer KEY'. It cannot be shown again.")


def _write(descriptor: int, secret: str, undo: str) -> None:
    try:
        os.write(descriptor, f"{secret}\n".encode())
    except OSError as error:
        raise ArwError(
            "INTERNAL", f"The key cannot be written: {error.strerror}.", f"Make it useless: {undo}"
        ) from error


@contextmanager
def _kept(path: Path | None) -> Iterator[int | None]:
    """A new file for a secret, which is there before the secret is; nothing is left of it when that fails."""
    if path is None:
        yield None
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ArwError(
            "INVALID_ARGUMENT", f"{path} cannot be made: {error.strerror}.", "Name a file that is not there yet."
        ) from error
    try:
        yield descriptor
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


@command(keys, "list")
async def list_keys(call: Call, project: Id, *, output: Output = Format.TABLE) -> None:
    """List the keys of a project; their secrets are not kept.

    Examples:
    arwctl project key list team-a
    """
    request = m.ListProjectKeysRequest(parent=one_of("projects", project))
    async with call.client() as client:
        found = (await client.projects.list_project_keys(request)).keys
    listing(call.screen, found, output, KEYS)


@command(keys, "revoke")
async def revoke_key(
    call: Call,
    project: Id,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key id: what is before the dot.", show_default=False)],
    *,
    output: Output = Format.TABLE,
) -> None:
    """Make a key useless, within two seconds.

    Examples:
    arwctl project key revoke team-a 0123456789abcdef
    """
    id_ = key.partition(".")[0]
    request = m.RevokeProjectKeyRequest(name=f"{one_of('projects', project)}/keys/{id_}")
    async with call.client() as client:
        found = (await client.projects.revoke_project_key(request)).key or m.ProjectKey()
    show(call.screen, found, output, lambda: call.screen.line(f"{found.id}: revoked"))
