"""WAV files made on the spot."""

from __future__ import annotations

import io
import wave


def wav(seconds: float = 1.0, *, rate: int = 16_000, channels: int = 1, width: int = 2, frame: bytes = b"") -> bytes:
    """`frame` repeated, silence when it is empty."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes((frame or bytes(channels * width)) * int(seconds * rate))
    return made.getvalue()
