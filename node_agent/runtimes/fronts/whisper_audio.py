"""Turns WAV files into what whisper.cpp hears: one channel of 16,000 samples a second between -1 and 1."""

from __future__ import annotations

import io
import math
import wave
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

RATE = 16_000
RATES = range(8_000, 192_001)
"""Input rates; beyond them a short file would grow without bound."""
LOBES = 16
"""Zero crossings of the filter's kernel on each side: 16 pass speech up to 7 kHz, and no alias that can be heard."""
READABLE = "Send a WAV file with uncompressed PCM samples of 8, 16, 24 or 32 bits."


class UnreadableAudio(Exception):  # noqa: N818 - the sender's fault, not ours
    """Why, as a sentence."""

    remedy = READABLE


def samples(content: bytes) -> Samples:
    """UnreadableAudio for anything but a PCM WAV file. A file that was cut off is heard up to there."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError, RuntimeError) as error:  # RuntimeError: a chunk that claims more than there is
        raise UnreadableAudio(
            f"The file is no WAV file that can be read: {str(error) or 'it ends too soon'}."
        ) from error
    if rate not in RATES:
        raise UnreadableAudio(f"Its sample rate of {rate} Hz is not between {RATES[0]} and {RATES[-1]} Hz.")
    if width > 4:  # noqa: PLR2004 - bytes
        raise UnreadableAudio(f"Its samples have {width * 8} bits.")
    return resampled(mixed(frames, channels, width), rate)


def mixed(frames: bytes, channels: int, width: int) -> Samples:
    """The mean of all channels."""
    whole = frames[: len(frames) - len(frames) % (channels * width)]
    levels = _levels(whole, width)
    return levels if channels == 1 else levels.reshape(-1, channels).mean(axis=1, dtype=np.float32)


def _levels(frames: bytes, width: int) -> Samples:
    if width == 1:
        return _scaled(np.frombuffer(frames, np.uint8), 128) - np.float32(1)
    if width == 3:  # noqa: PLR2004 - bytes; numpy has no such integer
        wide = np.zeros((len(frames) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(frames, np.uint8).reshape(-1, 3)
        return _scaled(wide.reshape(-1).view("<i4"), 1 << 31)
    return _scaled(np.frombuffer(frames, f"<i{width}"), 1 << 8 * width - 1)


def _scaled(values: NDArray[Any], full: int) -> Samples:
    levels: Samples = values.astype(np.float32)
    levels /= full
    return levels


def resampled(heard: Samples, rate: int) -> Samples:
    """By windowed sinc interpolation. The low-pass is the lower of both Nyquist rates, so nothing folds back."""
    if rate == RATE:
        return heard
    common = math.gcd(rate, RATE)
    up, down = RATE // common, rate // common
    half = math.ceil(LOBES * max(1.0, down / up))
    padded = np.pad(heard, (half - 1, half + 1))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half)
    result = np.zeros(-(-len(heard) * up // down), np.float32)
    for phase in range(min(up, len(result))):
        first, fraction = divmod(phase * down, up)
        places = result[phase::up]
        places[:] = windows[first::down][: len(places)] @ _kernel(fraction / up, half)
    return result


def _kernel(shift: float, half: int) -> Samples:
    """Weights of the samples around a point that lies `shift` after the one in the middle; their sum is 1."""
    distance = np.arange(1 - half, half + 1) - shift
    weights = np.sinc(distance * LOBES / half) * np.cos(np.pi * distance / (2 * half)) ** 2
    kernel: Samples = (weights / weights.sum()).astype(np.float32)
    return kernel
