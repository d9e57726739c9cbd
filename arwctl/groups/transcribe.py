"""Write down what is said in a recording."""

from __future__ import annotations

import asyncio
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from arw_client import ArwError, Recording
from arwctl.command import Call, alone, command
from arwctl.groups.chat import content_of, waiting
from arwctl.plain import plain

app = alone("Write down what is said in a recording.")


class Form(StrEnum):
    TEXT = "text"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"


ASKED_FOR = {Form.TEXT: "json", Form.JSON: "verbose_json", Form.SRT: "srt", Form.VTT: "vtt"}
"""response_format; text is taken out of JSON, because engines disagree about its lines."""


@command(app, "transcribe")
async def transcribe(
    call: Call,
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A WAV file.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Runtime id.")],
    language: Annotated[str, typer.Option(help="Of the speech, such as en; otherwise it is recognised.")] = "",
    output: Annotated[Form, typer.Option("--output", "-o", help="Form of the result.")] = Form.TEXT,
) -> None:
    """Write down what is said in a recording.

    Examples:
    arwctl transcribe -m whisper talk.wav
    arwctl transcribe -m whisper talk.wav --language de -o srt > talk.srt
    """
    content = await asyncio.to_thread(content_of, file, "a WAV file")
    options = {"response_format": ASKED_FOR[output], **({"language": language} if language else {})}
    said = await heard(call, Recording(model, content, options))
    call.screen.write(f"{plain(said if output is not Form.TEXT else text_of(said)).rstrip()}\n")


async def heard(call: Call, recording: Recording) -> str:
    async with call.client() as client:
        return (await client.transcriptions().transcribe(recording, waiting(call))).decode(errors="replace")


def text_of(answer: str) -> str:
    """One line for each that the engine gave, without its indents."""
    try:
        text = json.loads(answer)["text"]
    except (ValueError, KeyError, TypeError):
        raise ArwError(
            "ENGINE_FAILED", "The engine's answer holds no text.", "Read its log with `arwctl runtime logs`."
        ) from None
    return "\n".join(line.strip() for line in str(text).splitlines())
