from __future__ import annotations

import json

import pytest

pytest.importorskip("_pywhispercpp")

from node_agent.runtimes.fronts.whisper_engine import Segment, Transcript, Wanted
from node_agent.runtimes.fronts.whisper_forms import BadForm, answer, asked
from tests.fakes.forms import FORM, form, part, upload

DEFAULT = Wanted("auto")
HEARD = Transcript("en", False, 64.5, (Segment(0, 1500, " One."), Segment(61_234, 3_661_002, " Two & three.")))


def test_a_form_says_what_is_wanted() -> None:
    body = upload(b"RIFF", language="DE", temperature="0.5", prompt="Names: Ada.", response_format="srt", translate="1")
    found = asked(FORM, body, DEFAULT)
    assert (found.file, found.format) == (b"RIFF", "srt")
    assert found.wanted == Wanted("de", translate=True, temperature=0.5, prompt="Names: Ada.")


def test_what_is_left_out_is_as_the_server_was_started() -> None:
    found = asked(FORM, upload(b"RIFF"), Wanted("fr", translate=True))
    assert (found.format, found.wanted) == ("json", Wanted("fr", translate=True))


def test_the_first_of_two_fields_counts() -> None:
    body = form(part("translate", b"true"), part("translate", b"false"), part("file", b"x"))
    assert asked(FORM, body, DEFAULT).wanted.translate


@pytest.mark.parametrize(
    ("content_type", "body", "why"),
    [
        ("application/json", b"{}", "no form"),
        ("multipart/form-data", upload(b"x"), "no form"),
        (FORM, b"", "incomplete"),
        (FORM, upload(b"x")[:-30], "incomplete"),
        (FORM, form(part("model", b"m")), "no field 'file'"),
        (FORM, upload(b"x", language="klingon"), "'klingon' is not known"),
        (FORM, upload(b"x", temperature="hot"), "temperature 'hot'"),
        (FORM, upload(b"x", temperature="nan"), "temperature 'nan'"),
        (FORM, upload(b"x", temperature="1.5"), "temperature '1.5'"),
        (FORM, upload(b"x", response_format="docx"), "'docx' is not known"),
    ],
)
def test_a_form_that_cannot_be_followed_is_refused_with_a_remedy(content_type: str, body: bytes, why: str) -> None:
    with pytest.raises(BadForm, match=why) as raised:
        asked(content_type, body, DEFAULT)
    assert raised.value.remedy


def test_every_format_says_the_same() -> None:
    assert answer(HEARD, "text") == ("text/plain; charset=utf-8", b" One.\n Two & three.\n")
    assert json.loads(answer(HEARD, "json")[1]) == {"text": " One.\n Two & three.\n"}
    assert answer(HEARD, "srt")[1].decode() == (
        "1\n00:00:00,000 --> 00:00:01,500\nOne.\n\n2\n00:01:01,234 --> 01:01:01,002\nTwo & three.\n"
    )
    assert answer(HEARD, "vtt")[1].decode() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nOne.\n\n00:01:01.234 --> 01:01:01.002\nTwo & three.\n"
    )
    verbose = json.loads(answer(HEARD, "verbose_json")[1])
    assert (verbose["task"], verbose["language"], verbose["duration"]) == ("transcribe", "en", 64.5)
    assert verbose["segments"][1] == {"id": 1, "start": 61.234, "end": 3661.002, "text": " Two & three."}
