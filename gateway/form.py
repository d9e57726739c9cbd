"""Finds one field in a multipart/form-data body. The content of files is passed over, never copied or kept."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.refusals import BadRequest

MAX_PARTS = 64
MAX_PART_HEAD_BYTES = 4 * 1024
MAX_FIELD_BYTES = 512

_TYPE = re.compile(rb"\s*multipart/form-data\s*;", re.IGNORECASE)
_PARAMETER = re.compile(rb';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')
_BOUNDARY = re.compile(rb"[\w'()+,./:=? -]{0,69}[\w'()+,./:=?-]")
_DISPOSITION = re.compile(rb"^content-disposition\s*:\s*form-data\s*(;.*)$", re.IGNORECASE | re.MULTILINE)


def field(content_type: bytes, body: bytes, name: bytes) -> bytes | None:
    """The field's content, None when no part has that name. BadRequest for a broken form and for a second such part."""
    found: bytes | None = None
    for head, start, end in _parts(body, _boundary(content_type)):
        if _name(head) != name:
            continue
        if found is not None:
            raise BadRequest(f"The form has more than one field {name.decode()}.", "Send it once.")
        if end - start > MAX_FIELD_BYTES:
            raise _broken(f"its field {name.decode()} is longer than {MAX_FIELD_BYTES} bytes")
        found = body[start:end]
    return found


def extended(content_type: bytes, body: bytes, name: bytes, value: bytes) -> bytes:
    """The same form with one more field, before all others."""
    head = b'--%b\r\ncontent-disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    return head % (_boundary(content_type), name, value) + body


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The head of each part, and where its content begins and ends."""
    if not body.startswith(b"--" + boundary):
        raise _broken("it does not begin with its boundary")
    position = len(boundary) + 2
    for _ in range(MAX_PARTS):
        if body.startswith(b"--", position):
            return
        start = body.find(b"\r\n\r\n", position, position + MAX_PART_HEAD_BYTES) + 4
        if start < position or not body.startswith(b"\r\n", position):
            raise _broken(f"a part has no head of at most {MAX_PART_HEAD_BYTES} bytes")
        end = body.find(b"\r\n--" + boundary, start)
        if end < 0:
            raise _broken("it ends in the middle of a part")
        yield body[position + 2 : start], start, end
        position = end + len(boundary) + 4
    raise _broken(f"it has more than {MAX_PARTS} parts")


def _boundary(content_type: bytes) -> bytes:
    if not _TYPE.match(content_type):
        raise BadRequest("The request is no multipart/form-data.", "Send the audio as a form with 'file' and 'model'.")
    boundary = _parameters(content_type).get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):
        raise _broken("its content type names no valid boundary")
    return boundary


def _name(head: bytes) -> bytes | None:
    disposition = _DISPOSITION.search(head)
    return _parameters(disposition[1]).get(b"name") if disposition else None


def _parameters(header: bytes) -> dict[bytes, bytes]:
    """The first of each name counts."""
    found: dict[bytes, bytes] = {}
    for match in _PARAMETER.finditer(header):
        found.setdefault(match[1].lower(), match[2] if match[2] is not None else match[3])
    return found


def _broken(why: str) -> BadRequest:
    return BadRequest(f"The form cannot be read: {why}.", "Send it as multipart/form-data (RFC 7578).")
