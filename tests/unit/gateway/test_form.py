from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.form import MAX_FIELD_BYTES, MAX_PART_HEAD_BYTES, MAX_PARTS, extended, field
from gateway.refusals import BadRequest
from tests.fakes.forms import BOUNDARY, FORM, form, part, upload

TYPE = FORM.encode()
SOUND = bytes(range(256)) * 40


def model_in(body: bytes, content_type: bytes = TYPE) -> bytes | None:
    return field(content_type, body, b"model")


@pytest.mark.parametrize("body", [upload(SOUND), form(part("model", b"tiny"), part("file", SOUND, "a.wav"))])
def test_the_model_is_found_before_and_after_the_file(body: bytes) -> None:
    assert model_in(body) == b"tiny"


def test_a_form_without_the_field_has_none() -> None:
    assert model_in(form(part("file", SOUND, "a.wav"))) is None
    assert model_in(form()) is None


@pytest.mark.parametrize(
    "content_type",
    [
        f'Multipart/Form-Data; boundary="{BOUNDARY}"',
        f"multipart/form-data;boundary={BOUNDARY};charset=utf-8",
        f"multipart/form-data; charset=utf-8; Boundary = {BOUNDARY}",
    ],
)
def test_the_boundary_may_be_quoted_and_stand_anywhere(content_type: str) -> None:
    assert model_in(upload(SOUND), content_type.encode()) == b"tiny"


@pytest.mark.parametrize(
    "disposition",
    [
        'form-data; filename="; name=\\"model\\""; name="file"',
        'form-data; filename="x; name=model"; name="file"',
        'attachment; name="model"',
        'form-data; filename="model"',
    ],
)
def test_a_file_whose_name_plays_the_field_is_no_field(disposition: str) -> None:
    body = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\nother\r\n".encode()
    assert model_in(body + upload(SOUND)) == b"tiny"


def test_the_boundary_inside_a_file_is_not_one_unless_a_line_begins_with_it() -> None:
    assert model_in(upload(f"RIFF--{BOUNDARY}\n--{BOUNDARY}".encode())) == b"tiny"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "does not begin with its boundary"),
        (b"\r\n" + upload(SOUND), "does not begin with its boundary"),
        (upload(SOUND)[:-30], "ends in the middle of a part"),
        (upload(SOUND)[:-40], "no head"),
        (f"--{BOUNDARY}".encode(), "no head"),
        (f"--{BOUNDARY}\r\nX: {'y' * MAX_PART_HEAD_BYTES}\r\n\r\n".encode() + upload(b""), "no head"),
        (f"--{BOUNDARY}garbage\r\n\r\n\r\n".encode() + upload(b""), "no head"),
        (form(*[part("x", b"y")] * (MAX_PARTS + 1)), "more than 64 parts"),
        (form(part("model", b"m" * (MAX_FIELD_BYTES + 1))), "longer than 512 bytes"),
        (form(part("model", b"one"), part("model", b"two")), "more than one field model"),
    ],
)
def test_a_broken_form_is_refused_with_what_is_wrong(body: bytes, why: str) -> None:
    with pytest.raises(BadRequest, match=why) as raised:
        model_in(body)
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("content_type", "why"),
    [
        (b"", "no multipart/form-data"),
        (b"application/json", "no multipart/form-data"),
        (b"multipart/form-data", "no multipart/form-data"),
        (b"multipart/form-data; charset=utf-8", "no valid boundary"),
        (b"multipart/form-data; boundary=", "no valid boundary"),
        (b"multipart/form-data; boundary=" + b"x" * 71, "no valid boundary"),
        (b'multipart/form-data; boundary="a\\"b"', "no valid boundary"),
    ],
)
def test_a_type_without_a_good_boundary_is_refused(content_type: bytes, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        model_in(upload(SOUND), content_type)


def test_an_added_field_comes_first_and_the_rest_stays_as_it_was() -> None:
    body = upload(SOUND)
    longer = extended(TYPE, body, b"translate", b"true")
    assert longer.endswith(body)
    assert field(TYPE, longer, b"translate") == b"true"
    assert model_in(longer) == b"tiny"


@given(st.binary(max_size=400), st.binary(max_size=60))
def test_whatever_arrives_the_answer_is_a_field_or_a_refusal(noise: bytes, cut: bytes) -> None:
    for body in (noise, upload(noise), upload(noise)[: len(noise)], part("model", cut) + noise):
        try:
            found = model_in(body)
        except BadRequest:
            continue
        assert found is None or len(found) <= MAX_FIELD_BYTES
