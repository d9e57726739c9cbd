"""Writes a tiny GGUF projector that lets a tiny language model take pictures; its weights are random and see nothing.

A vision transformer of two layers and a perceptron of two, in the form of LLaVA, for `llama-server --mmproj`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from arwctl.tiny_model import Shape as TextShape

Tensor = tuple[str, NDArray[np.float16] | NDArray[np.float32]]

VISION = "clip.vision."
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class Shape:
    text_embedding: int = TextShape().embedding
    """Width of the language model's tokens."""
    image: int = 56
    """Pixels of a side."""
    patch: int = 14
    width: int = 32
    heads: int = 2
    feed_forward: int = 64
    layers: int = 2

    @property
    def positions(self) -> int:
        """One for each patch, and one for the whole."""
        return (self.image // self.patch) ** 2 + 1


def describe(writer: Any, shape: Shape) -> None:
    writer.add_name("tiny-projector")
    writer.add_type("mmproj")
    writer.add_license("CC0-1.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.has_text_encoder", False)
    writer.add_bool("clip.has_llava_projector", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", False)
    writer.add_uint32(VISION + "image_size", shape.image)
    writer.add_uint32(VISION + "patch_size", shape.patch)
    writer.add_uint32(VISION + "embedding_length", shape.width)
    writer.add_uint32(VISION + "feed_forward_length", shape.feed_forward)
    writer.add_uint32(VISION + "projection_dim", shape.text_embedding)
    writer.add_uint32(VISION + "attention.head_count", shape.heads)
    writer.add_float32(VISION + "attention.layer_norm_epsilon", 1e-5)
    writer.add_uint32(VISION + "block_count", shape.layers)
    writer.add_array(VISION + "image_mean", list(MEAN))
    writer.add_array(VISION + "image_std", list(DEVIATION))


def tensors(shape: Shape, rng: np.random.Generator) -> Iterator[Tensor]:
    width = shape.width
    yield "v.class_embd", _row(rng, width)
    yield "v.patch_embd.weight", _weights(rng, width, 3, shape.patch, shape.patch)
    yield "v.position_embd.weight", _row(rng, shape.positions, width)
    yield from _norm(rng, "v.pre_ln", width)
    for number in range(shape.layers):
        yield from _layer(rng, f"v.blk.{number}", shape)
    yield from _norm(rng, "v.post_ln", width)
    yield from _linear(rng, "mm.0", shape.text_embedding, width)
    yield from _linear(rng, "mm.2", shape.text_embedding, shape.text_embedding)


def _layer(rng: np.random.Generator, name: str, shape: Shape) -> Iterator[Tensor]:
    for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
        yield from _linear(rng, f"{name}.{part}", shape.width, shape.width)
    for part in ("ln1", "ln2"):
        yield from _norm(rng, f"{name}.{part}", shape.width)
    yield from _linear(rng, f"{name}.ffn_up", shape.feed_forward, shape.width)
    yield from _linear(rng, f"{name}.ffn_down", shape.width, shape.feed_forward)


def _linear(rng: np.random.Generator, name: str, rows: int, columns: int) -> Iterator[Tensor]:
    yield f"{name}.weight", _weights(rng, rows, columns)
    yield f"{name}.bias", _row(rng, rows)


def _norm(rng: np.random.Generator, name: str, width: int) -> Iterator[Tensor]:
    yield f"{name}.weight", np.ones(width, np.float32)
    yield f"{name}.bias", _row(rng, width)


def _weights(rng: np.random.Generator, *shape: int) -> NDArray[np.float16]:
    return rng.normal(0, 0.05, shape).astype(np.float16)


def _row(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.normal(0, 0.05, shape).astype(np.float32)


def write(path: Path, shape: Shape | None = None, seed: int = 7) -> Path:
    """Write the projector; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    writer: Any = gguf.GGUFWriter(str(unfinished), "clip")
    describe(writer, shape or Shape())
    for name, values in tensors(shape or Shape(), np.random.default_rng(seed)):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return unfinished.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m arwctl.tiny_projector", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="where the GGUF file goes")
    parser.add_argument("--embedding", type=int, default=TextShape().embedding, help="width of the model's tokens")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    path = write(options.out, Shape(text_embedding=options.embedding), options.seed)
    sys.stdout.write(f"{path}: {path.stat().st_size / 1e6:.2f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
