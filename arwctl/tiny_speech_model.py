"""Writes a tiny English model in whisper.cpp's ggml format that a real whisper.cpp loads.

Its decoder knows one chain of tokens, so that it hears the same sentence in every 30 s of any sound.
"""

from __future__ import annotations

import argparse
import itertools
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Tensor = tuple[str, Matrix]

SENTENCE = "This is what the tiny whisper model always hears."
MAGIC = 0x67676D6C
TOKENS = 51864
"""As many as every English-only model has; whisper.cpp tells it by this number."""
END, START, FIRST_TIME = 50256, 50257, 50363
WINDOW_END = FIRST_TIME + 1500
"""The time token of 30 s."""
BYTES = 256
AUDIO_CONTEXT, TEXT_CONTEXT = 1500, 448
WIDTH, HEADS, MELS = 32, 2, 80
AUDIO_LAYERS, TEXT_LAYERS = 4, 1
"""Four audio layers: whisper.cpp sizes its buffers by the kinds of models it knows."""
SAMPLE_RATE, FFT = 16000, 400
HALF_WEIGHTS, WHOLE_WEIGHTS = 1, 0


@dataclass(frozen=True, slots=True)
class Words:
    """Each byte has a token, then each word; what follows up to END is never said."""

    text: str

    @property
    def pieces(self) -> list[bytes]:
        return [f" {word}".encode() for word in self.text.split()]

    @property
    def chain(self) -> list[int]:
        """Each token asks for the next one."""
        return [START, FIRST_TIME, *range(BYTES, BYTES + len(self.pieces)), WINDOW_END, END]

    @property
    def vocabulary(self) -> list[bytes]:
        known = [*(bytes([byte]) for byte in range(BYTES)), *self.pieces]
        return [*known, *(b"~%d" % number for number in range(len(known), END)), b""]


def mel_filters() -> Matrix:
    """Slaney's triangles between 0 and 8 kHz, as whisper's own files hold them."""
    frequencies = np.linspace(0, SAMPLE_RATE / 2, FFT // 2 + 1)
    corners = _hertz(np.linspace(0, _mel(SAMPLE_RATE / 2), MELS + 2))
    widths = np.diff(corners)
    ramps = corners[:, None] - frequencies[None, :]
    triangles = np.minimum(-ramps[:-2] / widths[:-1, None], ramps[2:] / widths[1:, None])
    heights = 2.0 / (corners[2:] - corners[:-2])
    filters: Matrix = (np.maximum(0, triangles) * heights[:, None]).astype(np.float32)
    return filters


def _mel(hertz: float) -> float:
    """Only for what is above 1 kHz, where the scale is logarithmic."""
    return float(15 + np.log(hertz / 1000) / (np.log(6.4) / 27))


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mels >= 15, 1000 * np.exp((np.log(6.4) / 27) * (mels - 15)), mels * 200 / 3)  # noqa: PLR2004 - 1 kHz


def encoder(rng: np.random.Generator) -> Iterator[Tensor]:
    yield "encoder.positional_embedding", _random(rng, AUDIO_CONTEXT, WIDTH, scale=0.02)
    yield "encoder.conv1.weight", _random(rng, WIDTH, MELS, 3)
    yield "encoder.conv1.bias", _zeros(WIDTH, 1)
    yield "encoder.conv2.weight", _random(rng, WIDTH, WIDTH, 3)
    yield "encoder.conv2.bias", _zeros(WIDTH, 1)
    for layer in range(AUDIO_LAYERS):
        name = f"encoder.blocks.{layer}"
        yield from _attention(rng, f"{name}.attn", 0.05)
        yield from _norm(f"{name}.attn_ln")
        yield from _linear(f"{name}.mlp.0", _random(rng, 4 * WIDTH, WIDTH))
        yield from _linear(f"{name}.mlp.2", _random(rng, WIDTH, 4 * WIDTH))
        yield from _norm(f"{name}.mlp_ln")
    yield from _norm("encoder.ln_post")


def decoder(rng: np.random.Generator, chain: Sequence[int]) -> Iterator[Tensor]:
    """What it hears is weighed with nothing: only the last token decides."""
    yield "decoder.positional_embedding", _zeros(TEXT_CONTEXT, WIDTH)
    yield "decoder.token_embedding.weight", _embedding(chain)
    for layer in range(TEXT_LAYERS):
        name = f"decoder.blocks.{layer}"
        yield from _attention(rng, f"{name}.attn", 0)
        yield from _norm(f"{name}.attn_ln")
        yield from _attention(rng, f"{name}.cross_attn", 0)
        yield from _norm(f"{name}.cross_attn_ln")
        yield from _succession(f"{name}.mlp", chain)
        yield from _norm(f"{name}.mlp_ln")
    yield from _norm("decoder.ln", 5.0)


def _embedding(chain: Sequence[int]) -> Matrix:
    """One dimension for each token of the chain; all others are zero."""
    rows = _zeros(TOKENS, WIDTH)
    rows[list(chain), range(len(chain))] = 1.0
    return rows


def _succession(name: str, chain: Sequence[int]) -> Iterator[Tensor]:
    """Forget the token that came, and say the next one."""
    hot = np.sqrt(WIDTH - 1)  # of a one-hot vector after its norm
    first, bias, second = _zeros(4 * WIDTH, WIDTH), _zeros(4 * WIDTH), _zeros(WIDTH, 4 * WIDTH)
    bias -= hot / 2
    for came, follows in itertools.pairwise(range(len(chain))):
        first[came, came] = 1.0
        second[came, came] = -1.0 / (hot / 2)
        second[follows, came] = 4.0 / (hot / 2)
    yield f"{name}.0.weight", first
    yield f"{name}.0.bias", bias
    yield from _linear(f"{name}.2", second)


def _attention(rng: np.random.Generator, name: str, scale: float) -> Iterator[Tensor]:
    yield from _linear(f"{name}.query", _random(rng, WIDTH, WIDTH))
    yield f"{name}.key.weight", _random(rng, WIDTH, WIDTH)
    yield from _linear(f"{name}.value", _random(rng, WIDTH, WIDTH))
    yield from _linear(f"{name}.out", _random(rng, WIDTH, WIDTH, scale=scale))


def _linear(name: str, weights: Matrix) -> Iterator[Tensor]:
    yield f"{name}.weight", weights
    yield f"{name}.bias", _zeros(len(weights))


def _norm(name: str, weight: float = 1.0) -> Iterator[Tensor]:
    yield f"{name}.weight", np.full(WIDTH, weight, np.float32)
    yield f"{name}.bias", _zeros(WIDTH)


def _random(rng: np.random.Generator, *shape: int, scale: float = 0.05) -> Matrix:
    return rng.normal(0, scale, shape).astype(np.float32)


def _zeros(*shape: int) -> Matrix:
    return np.zeros(shape, np.float32)


def write(path: Path, text: str = SENTENCE, seed: int = 7) -> Path:
    """Write the model; the file appears whole or not at all. ValueError when the sentence is too long."""
    words, rng = Words(text), np.random.default_rng(seed)
    if len(words.chain) > WIDTH:
        raise ValueError(f"at most {WIDTH - 4} words")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    with unfinished.open("wb") as file:
        _write_head(file, words.vocabulary)
        for name, values in (*encoder(rng), *decoder(rng, words.chain)):
            _write_tensor(file, name, values)
    return unfinished.replace(path)


def _write_head(file: BinaryIO, vocabulary: Sequence[bytes]) -> None:
    file.write(struct.pack("<I", MAGIC))
    sizes = (AUDIO_CONTEXT, WIDTH, HEADS, AUDIO_LAYERS, TEXT_CONTEXT, WIDTH, HEADS, TEXT_LAYERS, MELS)
    file.write(struct.pack("<11i", TOKENS, *sizes, HALF_WEIGHTS))
    filters = mel_filters()
    file.write(struct.pack("<2i", *filters.shape) + filters.tobytes())
    file.write(struct.pack("<i", len(vocabulary)))
    file.writelines(struct.pack("<i", len(token)) + token for token in vocabulary)


def _write_tensor(file: BinaryIO, name: str, values: Matrix) -> None:
    """Matrices in half precision, all else whole, as whisper.cpp expects them."""
    half = values.ndim > 1 and not name.endswith(("bias", "positional_embedding"))
    file.write(struct.pack("<3i", values.ndim, len(name), HALF_WEIGHTS if half else WHOLE_WEIGHTS))
    file.write(struct.pack(f"<{values.ndim}i", *reversed(values.shape)))
    file.write(name.encode() + (values.astype(np.float16) if half else values).tobytes())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m arwctl.tiny_speech_model", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="where the model file goes")
    parser.add_argument("--text", default=SENTENCE, help="the sentence that it hears")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    path = write(options.out, options.text, options.seed)
    sys.stdout.write(f"{path}: {path.stat().st_size / 1e6:.2f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
