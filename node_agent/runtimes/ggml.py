"""The head of a whisper model in ggml format. Other models had this format too; they are told apart by their sizes."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from node_agent.runtimes.gguf import Malformed, invalid, opened

MAGIC = b"lmgg"
"""0x67676d6c, little-endian."""
SIZES = struct.Struct("<11i")
ENGLISH_TOKENS = 51864
"""Every later model has more tokens and knows more languages."""
MELS = (80, 128)
PLAUSIBLE = range(1, 1 << 20)


@dataclass(frozen=True, slots=True)
class GgmlHead:
    multilingual: bool
    audio_layers: int
    """4, 6, 12, 24 and 32: tiny, base, small, medium and large."""
    size_bytes: int


def read_head(path: Path) -> GgmlHead:
    """Raise ModelFileMissing or ModelFileInvalid with what is wrong."""
    with opened(path) as file:
        try:
            return parse_head(file.read(len(MAGIC) + SIZES.size), os.fstat(file.fileno()).st_size)
        except Malformed as problem:
            raise invalid(path, str(problem)) from problem


def parse_head(head: bytes, size_bytes: int) -> GgmlHead:
    """Malformed for anything but a whisper model."""
    if not head.startswith(MAGIC):
        raise Malformed("it does not start with ggml's mark, so whisper.cpp cannot load it")
    if len(head) < len(MAGIC) + SIZES.size:
        raise Malformed("it ends in the middle of its head, so it is incomplete")
    tokens, *layers, mels, _ = SIZES.unpack(head[len(MAGIC) :])
    if tokens < ENGLISH_TOKENS or mels not in MELS or any(size not in PLAUSIBLE for size in layers):
        raise Malformed("its sizes are not those of a whisper model")
    return GgmlHead(tokens > ENGLISH_TOKENS, layers[3], size_bytes)
