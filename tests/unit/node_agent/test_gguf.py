import contextlib
import io
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwctl import tiny_model
from node_agent.domain.errors import ModelFileInvalid, ModelFileMissing
from node_agent.runtimes.gguf import MAX_ARRAY, MAX_ENTRIES, MAX_TENSORS, GgufHead, Malformed, parse_head, read_head

UINT32, STRING, ARRAY = 4, 8, 9


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<i", kind) + value


def gguf(*entries: bytes, tensors: int = 1, version: int = 3, count: int | None = None) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, len(entries) if count is None else count)
    return head + b"".join(entries)


ARCHITECTURE = entry("general.architecture", STRING, text("llama"))
SOUND = gguf(
    ARCHITECTURE,
    entry("tokenizer.ggml.tokens", ARRAY, struct.pack("<iQ", STRING, 2) + text("a") + text("b")),
    entry("llama.context_length", UINT32, struct.pack("<I", 4096)),
    entry("general.name", STRING, text("demo")),
)


def parsed(content: bytes) -> GgufHead:
    return parse_head(io.BytesIO(content), len(content))


def test_a_sound_head_is_read() -> None:
    head = parsed(SOUND)
    assert (head.architecture, head.name, head.context_length, head.block_count) == ("llama", "demo", 4096, None)
    assert head.size_bytes == len(SOUND)


def test_the_tiny_model_is_read(tmp_path: Path) -> None:
    head = read_head(tiny_model.write(tmp_path / "tiny.gguf"))
    assert (head.architecture, head.context_length, head.block_count) == ("llama", 4096, 4)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"PK\x03\x04 something else", "does not start with GGUF"),
        (b"GGUF", "incomplete"),
        (SOUND[:60], "incomplete"),
        (gguf(ARCHITECTURE, version=99), "version is 99"),
        (gguf(ARCHITECTURE, version=3 << 24), "GGUF version"),
        (gguf(ARCHITECTURE, tensors=0), "no tensors"),
        (gguf(ARCHITECTURE, tensors=MAX_TENSORS + 1), "tensors"),
        (gguf(count=MAX_ENTRIES + 1), "metadata entries"),
        (gguf(entry("a", STRING, struct.pack("<Q", 1 << 62))), "characters"),
        (gguf(entry("a", ARRAY, struct.pack("<iQ", UINT32, MAX_ARRAY + 1))), "elements"),
        (gguf(entry("a", 77, b"")), "unknown kind 77"),
        (gguf(entry("a", ARRAY, struct.pack("<iQ", ARRAY, 1) * 50)), "nested"),
        (gguf(entry("general.name", STRING, text("x"))), "architecture"),
    ],
)
def test_what_is_wrong_is_said(content: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        parsed(content)


def test_a_missing_file_and_a_foreign_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelFileMissing):
        read_head(tmp_path / "nowhere.gguf")
    (tmp_path / "page.gguf").write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelFileInvalid, match="another kind of file"):
        read_head(tmp_path / "page.gguf")
    with pytest.raises(ModelFileInvalid, match="regular file"):
        read_head(tmp_path)


def test_a_device_or_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFileInvalid, match="regular file"):
        read_head(tmp_path / "pipe")


class Counting(io.BytesIO):
    """How much was asked for at once."""

    largest = 0

    def read(self, size: int | None = -1) -> bytes:
        Counting.largest = max(Counting.largest, size or 0)
        return super().read(size)


@given(st.binary(max_size=400))
def test_any_bytes_give_a_head_or_a_finding(content: bytes) -> None:
    for prefix in (b"", b"GGUF\x03\x00\x00\x00", SOUND[:24]):
        with contextlib.suppress(Malformed):
            assert parsed(prefix + content).architecture


@given(st.data())
def test_a_damaged_head_never_asks_for_more_than_the_file_holds(data: st.DataObject) -> None:
    damaged = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(4, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    Counting.largest = 0
    with contextlib.suppress(Malformed):
        parse_head(Counting(bytes(damaged)), len(damaged))
    assert Counting.largest <= len(damaged)


def test_the_path_is_part_of_the_refusal(tmp_path: Path) -> None:
    with pytest.raises(ModelFileMissing) as caught:
        read_head(tmp_path / "gone.gguf")
    assert caught.value.metadata["path"].endswith("gone.gguf")
    assert caught.value.remedy
