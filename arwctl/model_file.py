"""A model file on this machine: is it one, and what is its digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from arw_client import ArwError
from arw_client import messages as m
from arwctl.model_digests import Mark, ModelDigests

FORMATS = {b"GGUF": "gguf", b"lmgg": "ggml"}
"""By the first bytes of a file: llama.cpp's models, and whisper.cpp's."""
NAMES = {"config.json": "folder", "genai_config.json": "folder"}
"""Files that stand for the folder they lie in: vLLM's models, and those of ONNX Runtime."""
VOICE = ".onnx"
SUFFIXES = {".gguf": "gguf", ".bin": "ggml", VOICE: "onnx"}
MAGIC_BYTES = 4
BLOCK_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class ModelFile:
    path: Path
    sha256: str
    size_bytes: int
    format: str

    def message(self, projector: ModelFile | None = None) -> m.Model:
        return m.Model(
            path=str(self.path),
            sha256=self.sha256,
            size_bytes=self.size_bytes,
            format=self.format,
            projector=projector.part() if projector is not None else None,
        )

    def part(self) -> m.ModelPart:
        return m.ModelPart(path=str(self.path), sha256=self.sha256, size_bytes=self.size_bytes)


def checked(path: Path) -> Path:
    """The absolute path of a model file; ArwError when there is none."""
    path = path.expanduser().absolute()
    try:
        with path.open("rb") as file:
            magic = file.read(MAGIC_BYTES)
    except FileNotFoundError:
        raise ArwError(
            "MODEL_FILE_MISSING", f"There is no model file at {path}.", _make_it(path), {"path": str(path)}
        ) from None
    except OSError as error:
        raise ArwError(
            "MODEL_FILE_INVALID", f"{path} cannot be read: {error.strerror}.", "Name a model file that you may read."
        ) from error
    if not _format(path, magic):
        raise ArwError(
            "MODEL_FILE_INVALID",
            f"{path} is no GGUF file: it does not begin with GGUF. Nor is it a ggml file of whisper.cpp.",
            "Download it again, or convert the weights with llama.cpp's or whisper.cpp's tools.",
            {"path": str(path)},
        )
    return path


def _format(path: Path, magic: bytes) -> str:
    """Empty: it is no model."""
    return FORMATS.get(magic) or NAMES.get(path.name) or ("onnx" if path.suffix == VOICE else "")


def by_name(path: Path) -> str:
    """What a file that is not here would be; empty: its name does not say."""
    return NAMES.get(path.name) or SUFFIXES.get(path.suffix, "")


def _make_it(path: Path) -> str:
    if path.name.startswith("tiny-"):
        module = "tiny_speech_model" if path.suffix == ".bin" else "tiny_model"
        return f"Make it with `python -m arwctl.{module} {path}`, or put the file there."
    return "Put the file there, or correct the path in the manifest (it is relative to the manifest)."


def measured(path: Path, progress: Callable[[int, int], None], digests: ModelDigests) -> ModelFile:
    """Read the whole file, unless it was read before; `progress` gets bytes done and bytes in all."""
    with path.open("rb") as file:
        mark = Mark.of(os.fstat(file.fileno()))
        form = _format(path, file.read(MAGIC_BYTES))
        known = digests.known(mark)
        if known:
            return ModelFile(path, known, mark.size_bytes, form)
        lasting = digests.may_remember(mark)
        file.seek(0)
        found = ModelFile(path, *_digest(file, mark.size_bytes, progress), form)
        if lasting and Mark.of(os.fstat(file.fileno())) == mark:
            digests.remember(mark, found.sha256)
    return found


def _digest(file: BinaryIO, size: int, progress: Callable[[int, int], None]) -> tuple[str, int]:
    """SHA-256 in hex, and how many bytes it is of."""
    digest, done = hashlib.sha256(), 0
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
        done += len(block)
        progress(done, size)
    return digest.hexdigest(), done
