from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.form import field
from tests.fakes.sounds import wav
from tests.unit.arwctl.conftest import TRUST, Arwctl, Said, context_for, write_context

SRT = "1\n00:00:00,000 --> 00:00:01,500\nOne.\n"
VERBOSE = {"task": "transcribe", "text": " One.\n Two \x1b[31m.\n"}


class Gateway:
    """Gives one answer, and keeps the form that came."""

    def __init__(self, answer: str, status: str = "200 OK") -> None:
        self._answer = f"HTTP/1.1 {status}\r\ncontent-length: {len(answer.encode())}\r\n\r\n{answer}".encode()
        self.head = b""
        self.body = b""

    def given(self, name: bytes) -> bytes | None:
        content_type = next(line for line in self.head.splitlines() if line.startswith(b"content-type: "))
        return field(content_type.partition(b": ")[2], self.body, name)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in self.head.splitlines() if line.startswith(b"content-length: "))
        self.body = await reader.readexactly(int(length.partition(b": ")[2]))
        writer.write(self._answer)
        writer.close()

    def cut_short(self) -> None:
        self._answer = self._answer[:-5]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    file = tmp_path / "private name.wav"
    file.write_bytes(wav(0.1))
    return file


async def transcribed(run: Arwctl, gateway: Gateway, sound: Path, *options: str) -> Said:
    async with gateway.serving() as url:
        context = write_context(sound.parent, context_for(TRUST, "127.0.0.1:1", url))
        return await run("transcribe", "-m", "tiny", sound, *options, "--context", context)


async def test_the_words_are_printed_line_by_line_without_terminal_escapes(run: Arwctl, sound: Path) -> None:
    gateway = Gateway(json.dumps(VERBOSE))
    said = await transcribed(run, gateway, sound, "--language", "en")
    assert (said.code, said.out) == (0, "One.\nTwo \\x1b[31m.\n")
    assert gateway.head.startswith(b"POST /v1/audio/transcriptions HTTP/1.1\r\n")
    assert b"authorization: Bearer id.secret\r\n" in gateway.head
    assert [gateway.given(name) for name in (b"model", b"language", b"response_format")] == [b"tiny", b"en", b"json"]
    assert wav(0.1) in gateway.body
    assert b"private" not in gateway.body


@pytest.mark.parametrize(
    ("form", "asked", "answer"),
    [("srt", b"srt", SRT), ("vtt", b"vtt", f"WEBVTT\n\n{SRT}"), ("json", b"verbose_json", json.dumps(VERBOSE))],
)
async def test_other_forms_are_printed_as_the_engine_gave_them(
    run: Arwctl, sound: Path, form: str, asked: bytes, answer: str
) -> None:
    gateway = Gateway(answer)
    said = await transcribed(run, gateway, sound, "-o", form)
    assert (said.code, said.out) == (0, answer.rstrip() + "\n")
    assert gateway.given(b"response_format") == asked
    assert gateway.given(b"language") is None


async def test_a_refusal_is_told_with_its_remedy(run: Arwctl, sound: Path) -> None:
    error = {"message": "'tiny' cannot transcribe speech.", "code": "wrong_task", "remedy": "These can: hears."}
    said = await transcribed(run, Gateway(json.dumps({"error": error}), "400 Bad Request"), sound)
    assert said.code == 1
    assert said.err.splitlines() == ["error: 'tiny' cannot transcribe speech.", "next:  These can: hears."]


async def test_an_answer_that_breaks_off_is_never_taken_for_whole(run: Arwctl, sound: Path) -> None:
    gateway = Gateway(SRT)
    gateway.cut_short()
    said = await transcribed(run, gateway, sound, "-o", "srt")
    assert (said.code, said.out) == (3, "")
    assert "broke off: 5 bytes of it are missing" in said.err


async def test_an_answer_without_a_text_is_no_success(run: Arwctl, sound: Path) -> None:
    for answer in ("no json", "[]", "{}"):
        said = await transcribed(run, Gateway(answer), sound)
        assert (said.code, said.out) == (1, "")
        assert "holds no text" in said.err


async def test_a_file_that_is_not_there_is_named(run: Arwctl, tmp_path: Path) -> None:
    said = await run("transcribe", "-m", "tiny", tmp_path / "none.wav")
    assert said.code == 1
    assert "none.wav cannot be read: No such file" in said.err
    assert "next:  Name a WAV file" in said.err
