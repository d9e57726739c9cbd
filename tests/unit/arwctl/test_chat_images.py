from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest

from arw_client import ArwError, Image, Transcriptions, question
from arw_client.asking import MAX_BODY_BYTES
from arw_client.trace import Trace
from arw_client.transcription import Recording
from arwctl.local.samples import sunset
from tests.unit.arwctl.conftest import TRUST, Arwctl, Said, context_for, write_context
from tests.unit.arwctl.test_chat import Gateway, silent, sized
from wire.http_head import Limits

JPEG = b"\xff\xd8\xff\xe0 and so on"
WEBP = b"RIFF\x10\0\0\0WEBPVP8 "
WHOLE = sized("200 OK", {"choices": [{"message": {"content": "A sunset."}}]})


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "private name.png"
    sunset(file)
    return file


async def asked(run: Arwctl, gateway: Gateway, folder: Path, *options: str | Path) -> Said:
    async with gateway.serving() as url:
        context = write_context(folder, context_for(TRUST, "127.0.0.1:1", url))
        return await run("chat", "-m", "tiny", *options, "what is this?", "--context", context)


async def test_pictures_go_before_the_question_whole_and_without_their_names(run: Arwctl, picture: Path) -> None:
    other = picture.with_name("photo.txt")
    other.write_bytes(JPEG)
    content, gateway = await asyncio.to_thread(picture.read_bytes), Gateway(WHOLE)
    said = await asked(run, gateway, picture.parent, "--image", picture, "--image", other)
    assert (said.code, said.out) == (0, "A sunset.\n")
    (message,) = gateway.requests[0][1]["messages"]
    first, second, text = message["content"]
    assert base64.b64decode(first["image_url"]["url"].removeprefix("data:image/png;base64,")) == content
    assert base64.b64decode(second["image_url"]["url"].removeprefix("data:image/jpeg;base64,")) == JPEG
    assert text == {"type": "text", "text": "what is this?"}
    assert "private" not in str(message)


async def test_without_a_picture_the_question_stays_plain_text(run: Arwctl, tmp_path: Path) -> None:
    gateway = Gateway(WHOLE)
    await asked(run, gateway, tmp_path, "--system", "Be brief.")
    assert gateway.requests[0][1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "what is this?"},
    ]


def test_a_picture_is_known_by_its_first_bytes() -> None:
    for content, media_type in ((b"\x89PNG\r\n\x1a\n", "png"), (JPEG, "jpeg"), (WEBP, "webp")):
        assert Image.of(content, "some.bin").media_type == f"image/{media_type}"
    assert question("hello") == {"role": "user", "content": "hello"}


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<svg/>", b"RIFF\x10\0\0\0WAVEfmt ", b"\x89PNG"])
async def test_any_other_file_is_refused_before_anything_is_sent(run: Arwctl, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "looks.png"
    file.write_bytes(content)
    gateway = Gateway(WHOLE)
    said = await asked(run, gateway, tmp_path, "--image", file)
    assert (said.code, said.err.splitlines()) == (
        1,
        [f"error: {file} is no picture that can be sent.", "next:  Name a PNG, JPEG or WebP file."],
    )
    assert not gateway.requests


async def test_a_picture_that_is_not_there_is_named(run: Arwctl, tmp_path: Path) -> None:
    said = await asked(run, Gateway(WHOLE), tmp_path, "--image", tmp_path / "none.png")
    assert said.code == 1
    assert "none.png cannot be read: No such file" in said.err
    assert "next:  Name a picture that you may read." in said.err


async def test_more_than_the_gateway_takes_is_never_sent(run: Arwctl, picture: Path) -> None:
    with picture.open("ab") as file:
        file.truncate(MAX_BODY_BYTES * 3 // 4)
    gateway = Gateway(WHOLE)
    said = await asked(run, gateway, picture.parent, "--image", picture)
    assert said.code == 1
    assert "larger than the 33554432 bytes that the gateway takes" in said.err
    assert "next:  Send less" in said.err
    assert not gateway.requests


async def test_a_recording_has_the_same_limit() -> None:
    recording = Recording("tiny", bytes(MAX_BODY_BYTES))
    with pytest.raises(ArwError, match="larger than the 33554432") as raised:
        await Transcriptions(context_for(TRUST, "127.0.0.1:1"), Trace()).transcribe(recording, silent)
    assert raised.value.reason == "MESSAGE_TOO_LARGE"


def test_the_limit_is_the_gateways() -> None:
    assert Limits().body_bytes == MAX_BODY_BYTES
