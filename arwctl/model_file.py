"""A model file on this machine: is it one, and what is its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from arw_client import ArwError
from arw_client import messages as m

MAGIC = b"GGUF"
BLOCK_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class ModelFile:
    path: Path
    sha256: str
    size_bytes: int

    def message(self) -> m.Model:
        return m.Model(path=str(self.path), sha256=self.sha256, size_bytes=self.size_bytes, format="gguf")


def checked(path: Path) -> Path:
    """The absolute path of a GGUF file; ArwError when there is none."""
    path = path.expanduser().absolute()
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
    except FileNotFoundError:
        raise ArwError(
            "MODEL_FILE_MISSING", f"There is no model file at {path}.", _make_it(path), {"path": str(path)}
        ) from None
    except OSError as error:
        raise ArwError(
            "MODEL_FILE_INVALID", f"{path} cannot be read: {error.strerror}.", "Name a GGUF file that you may read."
        ) from error
    if magic != MAGIC:
        raise ArwError(
            "MODEL_FILE_INVALID",
            f"{path} is no GGUF file: it does not begin with GGUF.",
            "Download it again, or convert the weights to GGUF with llama.cpp's tools.",
            {"path": str(path)},
        )
    return path


def _make_it(path: Path) -> str:
    if path.name.startswith("tiny-"):
        return f"Make it with `python -m arwctl.tiny_model {path}`, or put the file there."
    return "Put the file there, or correct the path in the manifest (it is relative to the manifest)."


def measured(path: Path, progress: Callable[[int, int], None]) -> ModelFile:
    """Read the whole file; `progress` gets bytes done and bytes in all."""
    digest, done, size = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            progress(done, size)
    return ModelFile(path, digest.hexdigest(), done)
