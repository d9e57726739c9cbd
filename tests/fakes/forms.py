"""Multipart forms, written out byte for byte."""

from __future__ import annotations

BOUNDARY = "----frontier7MA4YWxk"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, content: bytes, filename: str = "") -> bytes:
    where = f'content-disposition: form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    return f"--{BOUNDARY}\r\n{where}\r\n\r\n".encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def upload(sound: bytes, model: str = "tiny", **fields: str) -> bytes:
    rest = [part(name, value.encode()) for name, value in fields.items()]
    return form(part("file", sound, "speech.wav"), part("model", model.encode()), *rest)
