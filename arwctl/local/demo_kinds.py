"""What can be demonstrated: each kind brings a tiny model, a manifest, and a question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import ModuleType

from arw_client import ArwError, Image, Prompt, Recording, question
from arwctl.command import Call
from arwctl.groups.chat import print_stream
from arwctl.groups.transcribe import heard, text_of
from arwctl.local.samples import HUM_S, hum, sunset


class DemoKind(StrEnum):
    CHAT = "chat"
    AUDIO = "audio"
    VISION = "vision"
    CLAIMS = "claims"


class Interruption(StrEnum):
    """How its engine is taken away between the two questions."""

    KILL = "kill"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True)
class Subject:
    runtime: str
    """Also the name of its files in the demo's folder."""
    manifest: str
    make_model: Callable[[Path], object]
    """Writes into a folder; ArwError when the packages that it takes are not installed."""
    ask: Callable[[Call, Path], Awaitable[str]]
    """Shows question and reply; gives the reply."""
    interruption: Interruption = Interruption.KILL


CHAT_MANIFEST = """\
version = 1

[[models]]
id = "tiny-chat"
path = "tiny-chat.gguf"

[[runtimes]]
id = "tiny-chat"
name = "Tiny chat"
adapter = "llama.cpp"
model = "tiny-chat"
auto_start = true
modalities = ["text"]
accelerator = "cpu"

[runtimes.settings]
context_length = 1024
slots = 2
"""
AUDIO_MANIFEST = """\
version = 1

[[models]]
id = "tiny-whisper"
path = "tiny-whisper.bin"

[[runtimes]]
id = "tiny-whisper"
name = "Tiny whisper"
adapter = "whisper.cpp"
model = "tiny-whisper"
auto_start = true
modalities = ["audio"]
accelerator = "cpu"
"""
VISION_MANIFEST = """\
version = 1

[[models]]
id = "tiny-vision"
path = "tiny-vision.gguf"
projector = "tiny-projector.gguf"

[[runtimes]]
id = "tiny-vision"
name = "Tiny vision"
adapter = "llama.cpp"
model = "tiny-vision"
auto_start = true
modalities = ["text", "vision"]
accelerator = "cpu"

[runtimes.settings]
context_length = 1024
slots = 1
"""


def tiny_models() -> ModuleType:
    """The module that makes them. ArwError when the packages that it takes are not installed."""
    try:
        from arwctl import tiny_model  # noqa: PLC0415 - gguf and numpy are extras
    except ImportError as error:
        raise _not_installed(error, "demo,llama") from error
    return tiny_model


def _chat_model(folder: Path) -> object:
    return tiny_models().write(folder / "tiny-chat.gguf")


async def _chat(call: Call, _folder: Path) -> str:
    text = "hello"
    call.screen.line(f"> {text}")
    return await print_stream(call, Prompt("tiny-chat", [question(text)]))


def _speech_model(folder: Path) -> Path:
    try:
        from arwctl import tiny_speech_model  # noqa: PLC0415 - numpy is an extra
    except ImportError as error:
        raise _not_installed(error, "demo,whisper") from error
    return tiny_speech_model.write(folder / "tiny-whisper.bin")


async def _listen(call: Call, folder: Path) -> str:
    file = folder / "hum.wav"
    await asyncio.to_thread(hum, file)
    call.screen.line(f"> {file.name}: {HUM_S} s of a hum, which is speech to the tiny model")
    said = text_of(await heard(call, Recording("tiny-whisper", await asyncio.to_thread(file.read_bytes))))
    call.screen.line(said)
    return said


def _vision_model(folder: Path) -> Path:
    try:
        from arwctl import tiny_model, tiny_projector  # noqa: PLC0415 - gguf and numpy are extras
    except ImportError as error:
        raise _not_installed(error, "demo,llama") from error
    tiny_projector.write(folder / "tiny-projector.gguf")
    return tiny_model.write(folder / "tiny-vision.gguf")


async def _describe(call: Call, folder: Path) -> str:
    file, text = folder / "sunset.png", "describe this picture"
    await asyncio.to_thread(sunset, file)
    call.screen.line(f"> {text}: {file.name}, of which the tiny model sees nothing")
    image = Image.of(await asyncio.to_thread(file.read_bytes), file.name)
    return await print_stream(call, Prompt("tiny-vision", [question(text, [image])]))


def _not_installed(error: ImportError, extras: str) -> ArwError:
    return ArwError(
        "NOT_INSTALLED", f"The demo needs {error.name}.", f"Install the extras: `pip install 'arw[{extras}]'`."
    )


SUBJECTS = {
    DemoKind.CHAT: Subject("tiny-chat", CHAT_MANIFEST, _chat_model, _chat),
    DemoKind.AUDIO: Subject("tiny-whisper", AUDIO_MANIFEST, _speech_model, _listen),
    DemoKind.VISION: Subject("tiny-vision", VISION_MANIFEST, _vision_model, _describe, Interruption.RESTORE),
}
