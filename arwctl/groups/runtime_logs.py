"""The command that prints or saves what an engine wrote; `arwctl.groups.runtime` names it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from arw_client import ArwError, display_id
from arw_client import messages as m
from arwctl.command import Call
from arwctl.log_archive import LIMIT_BYTES, LogArchive
from arwctl.plain import plain
from arwctl.progress import byte_bar
from arwctl.screen import YELLOW
from arwctl.targets import RuntimeArgument, RuntimeOption, one_of


async def logs(
    call: Call,
    *,
    runtime: RuntimeArgument = None,
    id_: RuntimeOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    tail: Annotated[int, typer.Option(help="Lines from the end.", min=1, max=10000)] = 100,
    archive: Annotated[
        Path | None, typer.Option("--archive", metavar="FILE.tar.gz", help="All kept logs of all launches.")
    ] = None,
) -> None:
    """Print the engine's own log, or save all of it.

    Examples:
    arwctl runtime logs tiny-chat --tail 50 --follow
    arwctl runtime logs tiny-chat --archive tiny-chat.tar.gz
    """
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
