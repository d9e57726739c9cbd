"""Logs of all launches of a runtime in one compressed archive."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

LIMIT_BYTES = 1 << 30
"""Uncompressed. A node keeps about a tenth of it for one runtime."""


class LogArchive:
    """Written beside the file and put in its place when all of it is there; leaving the block early leaves nothing."""

    def __init__(self, path: Path, folder: str) -> None:
        self._path = path
        self._folder = folder
        self._scratch = path.with_name(f".{path.name}.part")
        self._launch: tuple[int, IO[bytes]] | None = None
        self.launches = 0
        self.size_bytes = 0

    def __enter__(self) -> Self:
        descriptor = os.open(self._scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._archive = tarfile.open(fileobj=self._file, mode="w:gz")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if kind is None:
                self._settle()
            self._archive.close()
        finally:
            self._file.close()
            if self._launch is not None:
                self._launch[1].close()
        if kind is None:
            self._scratch.replace(self._path)
        else:
            self._scratch.unlink()

    @property
    def full(self) -> bool:
        return self.size_bytes >= LIMIT_BYTES

    def add(self, incarnation: int, data: bytes) -> None:
        """Launches one after another, each from its beginning."""
        if self._launch is None or self._launch[0] != incarnation:
            self._settle()
            self._launch = (incarnation, tempfile.TemporaryFile())  # noqa: SIM115 - closed once it is in the archive
            self.launches += 1
        self._launch[1].write(data)
        self.size_bytes += len(data)

    def _settle(self) -> None:
        """A tar names each length before the bytes."""
        if self._launch is None:
            return
        (incarnation, file), self._launch = self._launch, None
        with file:
            entry = tarfile.TarInfo(f"{self._folder}/launch-{incarnation}.log")
            entry.size, entry.mtime, entry.mode = file.seek(0, io.SEEK_END), int(time.time()), 0o600
            file.seek(0)
            self._archive.addfile(entry, file)
