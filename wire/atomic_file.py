"""Files that are whole after a crash."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `data`: whoever reads it, even after a crash, sees the old bytes or the new ones.

    OSError on a full disk, with the old bytes kept.
    """
    with written_atomically(path, mode) as file:
        file.write(data)


@contextmanager
def written_atomically(path: Path, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """A file beside `path` that takes its place at the end of the block, whole and on the disk, or is gone."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    scratch = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
