"""Ask a runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import typer

from arw_client import ArwError, Image, Prompt, question
from arw_client.asking import MAX_BODY_BYTES, PATIENCE_S, Waiting
from arwctl.command import Call, Output, alone, command
from arwctl.format import Format
from arwctl.output import emit
from arwctl.plain import one_line, plain
from arwctl.screen import YELLOW
from arwctl.targets import seconds

app = alone("Ask a runtime and print its reply.")

Patience = tuple[float, float]
"""Seconds for one that does not serve yet, and for one whose node is offline."""
USUAL: Patience = (PATIENCE_S, 0)
WAIT = "How long for one that does not serve yet, or whose node is offline; else 30s, and not for an offline node."


@command(app, "chat")
async def chat(
    call: Call,
    *,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Runtime id.")],
    image: Annotated[
        list[Path] | None, typer.Option("--image", metavar="FILE", help="PNG, JPEG or WebP; may be repeated.")
    ] = None,
    system: Annotated[str, typer.Option(help="A system message.")] = "",
    max_tokens: Annotated[int | None, typer.Option(help="At most so many tokens.", min=1)] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is repeatable.", min=0)] = None,
    wait: Annotated[str, typer.Option("--wait", metavar="DURATION", help=WAIT, show_default=False)] = "",
    stream: Annotated[bool | None, typer.Option(help="As it is made; the default on a terminal.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Ask a runtime and print its reply.

    Examples:
    arwctl chat -m tiny-chat "Why is the sky blue?"
    arwctl chat -m tiny-chat --system "Be brief." "Why is the sky blue?"
    arwctl chat -m tiny-vision --image photo.jpg "What is this?"
    """
    told: list[Mapping[str, object]] = [{"role": "system", "content": system}] if system else []
    images = [Image.of(await asyncio.to_thread(content_of, file, "a picture"), str(file)) for file in image or ()]
    options = {"max_tokens": max_tokens, "temperature": temperature}
    prompt = Prompt(
        model,
        [*told, question(text, images)],
        {key: value for key, value in options.items() if value is not None},
    )
    patience = (seconds(wait), seconds(wait)) if wait else USUAL
    streamed = call.screen.is_terminal if stream is None else stream
    if output is Format.TABLE and streamed:
        await print_stream(call, prompt, patience)
    else:
        await _print_whole(call, prompt, output, patience)


async def print_stream(call: Call, prompt: Prompt, patience: Patience = USUAL) -> str:
    """Print the pieces as they come; gives the whole text."""
    said = ""
    async with call.client() as client, aclosing(client.chat(*patience).stream(prompt, waiting(call))) as pieces:
        async for piece in pieces:
            said += piece.text
            call.screen.write(plain(piece.text))
    call.screen.write("\n")
    return said


async def _print_whole(call: Call, prompt: Prompt, output: Format, patience: Patience) -> None:
    async with call.client() as client:
        answer = await client.chat(*patience).reply(prompt, waiting(call))
    if output is Format.TABLE:
        call.screen.line(answer["choices"][0]["message"]["content"])
    else:
        emit(call.screen, answer, output)


def content_of(file: Path, kind: str) -> bytes:
    """Of a larger file than a request can hold, a little too much."""
    try:
        with file.open("rb") as source:
            return source.read(MAX_BODY_BYTES + 1)
    except OSError as error:
        raise ArwError(
            "INVALID_ARGUMENT", f"{file} cannot be read: {error.strerror}.", f"Name {kind} that you may read."
        ) from error


def waiting(call: Call) -> Waiting:
    return lambda why, pause_s: call.screen.note(f"waiting {pause_s:g} s: {one_line(why)}", YELLOW)
