"""Transcriptions on their way to an engine."""

from __future__ import annotations

import pytest

from gateway.settings import GatewaySettings
from tests.fakes.data_path import TOKEN
from tests.fakes.forms import FORM, form, part, upload
from tests.fakes.http_talk import Reply, talking
from tests.fakes.relay_rig import Rig

TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
SOUND = bytes(range(256)) * 4096


async def send(port: int, body: bytes, path: str = TRANSCRIPTIONS, content_type: str = FORM) -> Reply:
    async with talking(port) as talk:
        talk.ask("POST", path, body, authorization=TOKEN, content_type=content_type)
        return await talk.reply()


async def test_a_form_reaches_the_engine_byte_for_byte_and_is_metered(rig: Rig) -> None:
    body = upload(SOUND, language="en")
    reply = await send(rig.port, body)
    assert (reply.status, reply.json()) == (200, {"text": " heard\n"})
    seen = rig.engine.requests[0]
    assert (seen.path, seen.header(b"content-type"), seen.body) == (TRANSCRIPTIONS.encode(), FORM.encode(), body)
    assert not [name for name, _ in seen.headers if name.startswith(b"x-arw-")]
    exchange = await rig.meter.next()
    assert (exchange.path, exchange.status, exchange.complete, exchange.streamed) == (TRANSCRIPTIONS, 200, True, False)


async def test_a_translation_is_a_transcription_with_one_more_field(unix_rig: Rig) -> None:
    body = upload(SOUND)
    assert (await send(unix_rig.port, body, TRANSLATIONS)).status == 200
    seen = unix_rig.engine.requests[0]
    assert seen.path == TRANSCRIPTIONS.encode()
    assert seen.body == part("translate", b"true") + body
    assert (await unix_rig.meter.next()).path == TRANSLATIONS


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (form(part("file", SOUND)), FORM, 400, "invalid_request"),
        (upload(SOUND, model=""), FORM, 400, "invalid_request"),
        (upload(SOUND)[:-30], FORM, 400, "invalid_request"),
        (upload(SOUND), "multipart/form-data", 400, "invalid_request"),
        (b'{"model": "tiny"}', "application/json", 400, "invalid_request"),
        (upload(SOUND) + part("model", b"tiny"), FORM, 200, ""),
        (form(part("model", b"tiny"), part("model", b"tiny")), FORM, 400, "invalid_request"),
        (form(part("model", b"\xff\xfe")), FORM, 400, "invalid_request"),
        (upload(SOUND, model="nope"), FORM, 404, "model_not_found"),
    ],
    ids=["no model", "empty model", "cut off", "no boundary", "json", "surplus", "two models", "not utf-8", "unknown"],
)
async def test_a_hostile_form_is_refused_before_any_engine_sees_it(
    unix_rig: Rig, body: bytes, content_type: str, status: int, code: str
) -> None:
    reply = await send(unix_rig.port, body, content_type=content_type)
    assert reply.status == status, reply.body
    if code:
        assert reply.json()["error"]["code"] == code
        assert reply.json()["error"]["remedy"]
        assert not unix_rig.engine.requests


async def test_a_form_beyond_the_limit_is_refused_and_no_engine_sees_it(unix_rig: Rig) -> None:
    limit = GatewaySettings().limits.body_bytes
    async with talking(unix_rig.port) as talk:
        talk.ask("POST", TRANSCRIPTIONS, authorization=TOKEN, content_type=FORM, content_length=str(limit + 1))
        reply = await talk.reply()
    assert (reply.status, reply.json()["error"]["code"]) == (413, "body_too_large")
    assert not unix_rig.engine.requests


async def test_only_post_is_possible(unix_rig: Rig) -> None:
    async with talking(unix_rig.port) as talk:
        talk.ask("GET", TRANSCRIPTIONS, authorization=TOKEN)
        reply = await talk.reply()
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
