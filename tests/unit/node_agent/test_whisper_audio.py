from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.runtimes.fronts.whisper_audio import RATE, UnreadableAudio, resampled, samples
from tests.fakes.sounds import wav


@pytest.mark.parametrize(
    ("width", "frame", "level"),
    [
        (1, b"\xc0", 0.5),
        (2, b"\x00\x40", 0.5),
        (3, b"\x00\x00\xc0", -0.5),
        (4, b"\x00\x00\x00\x80", -1.0),
    ],
)
def test_every_width_of_sample_is_scaled_to_one(width: int, frame: bytes, level: float) -> None:
    heard = samples(wav(0.5, width=width, frame=frame))
    assert heard.dtype == np.float32
    assert len(heard) == RATE / 2
    assert np.allclose(heard, level)


def test_channels_are_mixed_to_their_mean() -> None:
    heard = samples(wav(0.1, channels=2, frame=b"\x00\x40\x00\xe0"))
    assert np.allclose(heard, 0.125)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 44_101, 48_000, 96_000])
@pytest.mark.parametrize("hertz", [0, 440, 3_000])
def test_speech_keeps_its_shape_at_every_rate(rate: int, hertz: int) -> None:
    """Away from the ends, where there is silence beyond."""
    seen = np.cos(2 * np.pi * hertz * np.arange(rate // 2) / rate).astype(np.float32)
    heard = resampled(seen, rate)
    wanted = np.cos(2 * np.pi * hertz * np.arange(len(heard)) / RATE)
    assert abs(len(heard) - RATE / 2) <= 1
    assert np.abs(heard - wanted)[1000:-1000].max() < 0.005


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_what_16_khz_cannot_hold_is_left_out_instead_of_folded_back(rate: int) -> None:
    seen = np.cos(2 * np.pi * 9_500 * np.arange(rate // 2) / rate).astype(np.float32)
    assert np.abs(resampled(seen, rate))[1000:-1000].max() < 0.01


def test_an_empty_file_is_silence_of_no_length() -> None:
    assert len(samples(wav(0))) == 0
    assert len(samples(wav(0, rate=44_100))) == 0


def test_a_file_that_was_cut_off_is_heard_up_to_there() -> None:
    whole = wav(1.0, channels=2)
    assert len(samples(whole[:-1001])) == RATE - 251


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it ends too soon"),
        (b"ID3\x04 an mp3", "does not start with RIFF"),
        (wav(0.1)[:20], "it ends too soon"),
        (wav(0.1, rate=4_000), "sample rate of 4000 Hz"),
        (wav(0.1, rate=400_000), "sample rate of 400000 Hz"),
        (wav(0.1)[:20] + b"\x03" + wav(0.1)[21:], "unknown format: 3"),
    ],
)
def test_anything_else_is_refused_with_why_and_what_to_send(content: bytes, why: str) -> None:
    with pytest.raises(UnreadableAudio, match=why) as raised:
        samples(content)
    assert raised.value.remedy.startswith("Send a WAV file")


@given(st.data())
def test_whatever_arrives_it_is_sound_or_refused(data: st.DataObject) -> None:
    content = bytearray(wav(0.01))
    for place in data.draw(st.lists(st.integers(0, 47), max_size=6)):
        content[place] = data.draw(st.integers(0, 255))
    try:
        heard = samples(bytes(content[: data.draw(st.integers(0, len(content)))]))
    except UnreadableAudio:
        return
    assert heard.size <= len(content) * 2
