"""Files that the demonstrations make for their questions."""

from __future__ import annotations

import math
import struct
import wave
import zlib
from pathlib import Path

RATE = 16_000
HUM_HERTZ = 220
HUM_S = 3
SIDE = 56
"""Pixels."""
EIGHT_BIT_RGB = (8, 2, 0, 0, 0)
"""Bits of a channel, colours, and the only compression, filters and order of lines that PNG has or needs."""


def hum(file: Path) -> None:
    """A WAV of HUM_S seconds."""
    with wave.open(str(file), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        levels = (int(8000 * math.sin(2 * math.pi * HUM_HERTZ * at / RATE)) for at in range(HUM_S * RATE))
        sound.writeframes(b"".join(struct.pack("<h", level) for level in levels))


def sunset(file: Path) -> None:
    """A PNG of SIDE by SIDE pixels, from red to blue."""
    lines = b"".join(b"\0" + bytes((255 - 4 * line, 64, 4 * line)) * SIDE for line in range(SIDE))
    head = struct.pack(">II5B", SIDE, SIDE, *EIGHT_BIT_RGB)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in parts))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
