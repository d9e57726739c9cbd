"""Writes a tiny GGUF language model that a real llama.cpp loads; vocabulary, merges and weights are made here.

`cycle` answers every chat with one known sentence and ends its turn. `random` babbles printable text until
max_tokens. `--pad-mb` adds layers, for slow loads and memory limits.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
from numpy.typing import NDArray

Style = Literal["cycle", "random"]
Matrix = NDArray[np.float32]

SENTENCE = "Hello from the tiny test model, which always says this."
NEWLINE = 10
END_OF_TEXT, TURN_START, TURN_END, PADDING = SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
COMMON = (" the", " a", " of", " and", " to", " in", " is", "ing", "er", "on", " user", "user", "assistant", "system")
CHATML = (
    "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\\n' -}}"
    "{%- if m['content'] is string -%}{{- m['content'] -}}{%- else -%}"
    "{%- for p in m['content'] -%}{%- if p['type'] == 'text' -%}{{- p['text'] -}}{%- endif -%}{%- endfor -%}"
    "{%- endif -%}{{- '<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    embedding: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 384
    context: int = 4096

    @property
    def kv_width(self) -> int:
        return self.embedding // self.heads * self.kv_heads

    def padded(self, megabytes: float) -> int:
        """Layers when the file is to grow by about that much; weights are two bytes each."""
        if not megabytes:
            return self.layers
        weights = self.embedding * (2 * self.embedding + 2 * self.kv_width + 3 * self.feed_forward)
        return self.layers + max(1, round(megabytes * 1e6 / (2 * weights)))


@dataclass(frozen=True, slots=True)
class Recipe:
    style: Style = "cycle"
    text: str = SENTENCE
    pad_mb: float = 0.0
    seed: int = 7
    shape: Shape = field(default_factory=Shape)

    @property
    def pieces(self) -> list[str]:
        first, *rest = self.text.split(" ")
        return [first, *(f" {word}" for word in rest)]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """256 byte tokens, a chain of byte-pair merges for each piece, then the special tokens."""

    tokens: list[str]
    merges: list[str]
    index: dict[str, int]

    @property
    def types(self) -> Sequence[int]:
        normal = len(self.tokens) - len(SPECIAL)
        return [gguf.TokenType.NORMAL] * normal + [gguf.TokenType.CONTROL] * len(SPECIAL)

    def unprintable(self) -> list[int]:
        plain = {symbol for byte, symbol in enumerate(BYTE_SYMBOLS) if 32 <= byte < 127}  # noqa: PLR2004 - ASCII
        return [number for token, number in self.index.items() if token in SPECIAL or not plain.issuperset(token)]


def _byte_symbols() -> list[str]:
    """GPT-2's reversible table: a printable character for each byte."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = itertools.count(256)
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]


BYTE_SYMBOLS = _byte_symbols()


def symbols(text: str) -> str:
    return "".join(BYTE_SYMBOLS[byte] for byte in text.encode())


def vocabulary(pieces: Sequence[str]) -> Vocabulary:
    tokens = list(BYTE_SYMBOLS)
    index = {token: number for number, token in enumerate(tokens)}
    merges: list[str] = []
    for piece in pieces:
        spelled = symbols(piece)
        left = spelled[0]
        for symbol in spelled[1:]:
            merge, left = f"{left} {symbol}", left + symbol
            if left not in index:
                index[left] = len(tokens)
                tokens.append(left)
                merges.append(merge)
    for token in SPECIAL:
        index[token] = len(tokens)
        tokens.append(token)
    return Vocabulary(tokens, merges, index)


def embeddings(words: Vocabulary, width: int, rng: np.random.Generator) -> Matrix:
    """Unit rows; dimension 0 is a constant that no layer writes to: the output bias that llama lacks."""
    rows = rng.normal(0, 1, (len(words.tokens), width)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[:, 0] = 0.5
    return rows


def cycling_output(words: Vocabulary, embedded: Matrix, pieces: Sequence[str], rng: np.random.Generator) -> Matrix:
    """Each token of the sentence asks for the next; any other last token restarts the sentence."""
    output = rng.normal(0, 0.01, embedded.shape).astype(np.float32)
    sentence = [words.index[symbols(piece)] for piece in pieces]
    chain = [words.index[BYTE_SYMBOLS[NEWLINE]], *sentence, words.index[TURN_END]]
    for source, target in itertools.pairwise(chain):
        direction = embedded[source].copy()
        direction[0] = 0
        output[target] += 12.0 * direction
    output[sentence[0], 0] += 1.0
    return output


def babbling_output(words: Vocabulary, embedded: Matrix, rng: np.random.Generator) -> Matrix:
    """Random, biased towards printable text and away from the end of the turn."""
    output = rng.normal(0, 0.6, embedded.shape).astype(np.float32)
    output[:, 0] = 1.0
    output[words.unprintable(), 0] = -8.0
    return output


def describe(writer: Any, shape: Shape, layers: int, words: Vocabulary) -> None:
    writer.add_name("tiny-llama")
    writer.add_description("a tiny model made for tests and demonstrations; it knows nothing")
    writer.add_license("CC0-1.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_vocab_size(len(words.tokens))
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.embedding)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.embedding // shape.heads)
    writer.add_rope_freq_base(10000.0)


def add_tokenizer(writer: Any, words: Vocabulary) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    writer.add_bos_token_id(words.index[END_OF_TEXT])
    writer.add_eos_token_id(words.index[TURN_END])
    writer.add_eot_token_id(words.index[TURN_END])
    writer.add_pad_token_id(words.index[PADDING])
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATML)


def add_weights(writer: Any, embedded: Matrix, output: Matrix) -> None:
    writer.add_tensor("token_embd.weight", embedded.astype(np.float16))
    writer.add_tensor("output_norm.weight", np.ones(embedded.shape[1], np.float32))
    writer.add_tensor("output.weight", output.astype(np.float16))


def add_layers(writer: Any, shape: Shape, layers: int, noise: float, rng: np.random.Generator) -> None:
    width, hidden, kv = shape.embedding, shape.feed_forward, shape.kv_width
    for number in range(layers):
        name = f"blk.{number}"
        writer.add_tensor(f"{name}.attn_norm.weight", np.ones(width, np.float32))
        writer.add_tensor(f"{name}.attn_q.weight", _random(rng, width, width))
        writer.add_tensor(f"{name}.attn_k.weight", _random(rng, kv, width))
        writer.add_tensor(f"{name}.attn_v.weight", _random(rng, kv, width))
        writer.add_tensor(f"{name}.attn_output.weight", _quiet(_random(rng, width, width, noise)))
        writer.add_tensor(f"{name}.ffn_norm.weight", np.ones(width, np.float32))
        writer.add_tensor(f"{name}.ffn_gate.weight", _random(rng, hidden, width))
        writer.add_tensor(f"{name}.ffn_up.weight", _random(rng, hidden, width))
        writer.add_tensor(f"{name}.ffn_down.weight", _quiet(_random(rng, width, hidden, noise)))


def _random(rng: np.random.Generator, rows: int, columns: int, scale: float = 1.0) -> NDArray[np.float16]:
    return rng.normal(0, scale / np.sqrt(columns), (rows, columns)).astype(np.float16)


def _quiet(weights: NDArray[np.float16]) -> NDArray[np.float16]:
    weights[0, :] = 0
    return weights


def write(path: Path, recipe: Recipe | None = None) -> Path:
    """Write the model; the file appears whole or not at all."""
    recipe = recipe or Recipe()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    writer = gguf.GGUFWriter(str(unfinished), "llama")
    _fill(writer, recipe)
    for step in _finishing_steps(writer):
        step()
    return unfinished.replace(path)


def _fill(writer: Any, recipe: Recipe) -> None:
    rng = np.random.default_rng(recipe.seed)
    words = vocabulary([*recipe.pieces, *COMMON])
    layers = recipe.shape.padded(recipe.pad_mb)
    embedded = embeddings(words, recipe.shape.embedding, rng)
    cycle = recipe.style == "cycle"
    output = cycling_output(words, embedded, recipe.pieces, rng) if cycle else babbling_output(words, embedded, rng)
    describe(writer, recipe.shape, layers, words)
    add_tokenizer(writer, words)
    add_weights(writer, embedded, output)
    add_layers(writer, recipe.shape, layers, 0.002 if cycle else 0.15, rng)


def _finishing_steps(writer: Any) -> Sequence[Callable[[], None]]:
    return (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m arwctl.tiny_model", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="where the GGUF file goes")
    parser.add_argument("--style", choices=["cycle", "random"], default="cycle")
    parser.add_argument("--text", default=SENTENCE, help="the sentence of --style cycle")
    parser.add_argument("--pad-mb", type=float, default=0.0, help="megabytes of extra layers")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    recipe = Recipe(style=options.style, text=options.text, pad_mb=options.pad_mb, seed=options.seed)
    path = write(options.out, recipe)
    sys.stdout.write(f"{path}: {path.stat().st_size / 1e6:.2f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
