"""The head of a GGUF file. Every count and length is checked before anything is read or kept."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from node_agent.domain.errors import ModelFileInvalid, ModelFileMissing

PROJECTOR = "clip"
"""The architecture of files that turn pictures into a language model's tokens."""
MAGIC = b"GGUF"
MIN_VERSION, MAX_VERSION = 2, 3
MAX_ENTRIES = 1 << 16
MAX_TENSORS = 1 << 17
MAX_ARRAY = 1 << 24
MAX_KEY_BYTES = 1 << 12
MAX_TEXT_BYTES = 1 << 24
MAX_DEPTH = 4
STRING, ARRAY = 8, 9
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
KEPT_TEXT_BYTES = 1 << 12

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class GgufHead:
    version: int
    architecture: str
    name: str
    context_length: int | None
    """Tokens the model was trained for."""
    block_count: int | None
    size_bytes: int


def read_head(path: Path) -> GgufHead:
    """Raise ModelFileMissing or ModelFileInvalid with what is wrong."""
    with opened(path) as file:
        try:
            return parse_head(file, os.fstat(file.fileno()).st_size)
        except Malformed as problem:
            raise invalid(path, str(problem)) from problem


def opened(path: Path) -> BinaryIO:
    """Never waits for the other end of a pipe."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ModelFileMissing(
            f"The model file {path} cannot be opened: {error.strerror}.",
            "Put the file there, readable by the user that runs the agent, or add the model again with its right path.",
            path=str(path),
        ) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise invalid(path, "it is not a regular file")
    return os.fdopen(handle, "rb")


def check_projector(path: Path) -> None:
    """ModelFileMissing, or ModelFileInvalid when it is a model of another kind."""
    if read_head(path).architecture != PROJECTOR:
        raise invalid(path, "it is no projector of a vision model")


class Malformed(Exception):  # noqa: N818 - a finding about a file
    """What is wrong with the bytes, as the end of a sentence."""


def parse_head(file: BinaryIO, size_bytes: int) -> GgufHead:
    """Read metadata from the start of `file`, which is `size_bytes` long. Malformed for anything but a sound head."""
    reader = _Reader(file, size_bytes)
    if size_bytes == 0:
        raise Malformed("it is empty")
    if reader.take(len(MAGIC)) != MAGIC:
        raise Malformed("it does not start with GGUF, so it is another kind of file")
    version = reader.number("<I")
    if not MIN_VERSION <= version <= MAX_VERSION:
        raise Malformed(f"its GGUF version is {version}; {MIN_VERSION} and {MAX_VERSION} are known")
    tensors = reader.count("<Q", MAX_TENSORS, "tensors")
    entries = reader.count("<Q", MAX_ENTRIES, "metadata entries")
    metadata = dict(_entries(reader, entries))
    if tensors == 0:
        raise Malformed("it holds no tensors")
    return _head(version, metadata, size_bytes)


def _head(version: int, metadata: dict[str, Scalar], size_bytes: int) -> GgufHead:
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise Malformed("it does not name its architecture")
    return GgufHead(
        version=version,
        architecture=architecture,
        name=str(metadata.get("general.name", "")),
        context_length=_whole(metadata.get(f"{architecture}.context_length")),
        block_count=_whole(metadata.get(f"{architecture}.block_count")),
        size_bytes=size_bytes,
    )


def _whole(value: Scalar | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _entries(reader: _Reader, count: int) -> Iterator[tuple[str, Scalar]]:
    for _ in range(count):
        key = reader.text(MAX_KEY_BYTES)
        value = reader.value(reader.number("<i"), 0)
        if value is not None:
            yield key, value


class _Reader:
    """Reads forward only, and never past what the file holds."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._left = size_bytes

    def take(self, count: int) -> bytes:
        self._reserve(count)
        content = self._file.read(count)
        if len(content) != count:
            raise Malformed("it ends in the middle of its head, so it is incomplete")
        return content

    def skip(self, count: int) -> None:
        self._reserve(count)
        self._file.seek(count, os.SEEK_CUR)

    def _reserve(self, count: int) -> None:
        if count > self._left:
            raise Malformed("it ends in the middle of its head, so it is incomplete")
        self._left -= count

    def number(self, form: str) -> int:
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return int(value)

    def count(self, form: str, limit: int, what: str) -> int:
        value = self.number(form)
        if value > limit:
            raise Malformed(f"it claims {value} {what}; more than {limit} are not believed")
        return value

    def text(self, limit: int) -> str:
        return self.take(self.count("<Q", limit, "characters in one text")).decode("utf-8", errors="replace")

    def value(self, kind: int, depth: int) -> Scalar | None:
        """A scalar or short text; None for what is skipped: arrays and long texts."""
        if kind == STRING:
            return self._short_text()
        if kind == ARRAY:
            self._skip_array(depth)
            return None
        form = self._form(kind)
        value: Scalar = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return value

    def _short_text(self) -> str | None:
        length = self.count("<Q", MAX_TEXT_BYTES, "characters in one text")
        if length > KEPT_TEXT_BYTES:
            self.skip(length)
            return None
        return self.take(length).decode("utf-8", errors="replace")

    def _skip_array(self, depth: int) -> None:
        kind = self.number("<i")
        length = self.count("<Q", MAX_ARRAY, "elements in one array")
        if kind not in (STRING, ARRAY):
            self.skip(length * struct.calcsize(self._form(kind)))
        elif depth >= MAX_DEPTH:
            raise Malformed("its arrays are nested too deep")
        else:
            for _ in range(length):
                self._skip_element(kind, depth)

    def _skip_element(self, kind: int, depth: int) -> None:
        if kind == ARRAY:
            self._skip_array(depth + 1)
        else:
            self.skip(self.count("<Q", MAX_TEXT_BYTES, "characters in one text"))

    @staticmethod
    def _form(kind: int) -> str:
        if kind not in SCALARS:
            raise Malformed(f"it holds a value of unknown kind {kind}")
        return SCALARS[kind]


def invalid(path: Path, why: str) -> ModelFileInvalid:
    return ModelFileInvalid(
        f"The model file {path} cannot be used: {why}.",
        "Download or convert the model again, then add it with `arwctl model add`.",
        path=str(path),
    )
