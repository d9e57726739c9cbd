"""Folders in which files can be made such that nobody may write them, as on a file system that became read-only."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FIX = """
import subprocess, sys
FILES = [sys.argv[1] + end for end in ("-wal", "-shm", "")]

def done(*words):
    subprocess.run(["/usr/bin/env", *words, *FILES], check=True)

def fixed():
    # What was written back is asked for again by the next who writes it.
    done("sync")
    done("chattr", "+i")

def loose():
    done("chattr", "-i")
"""
"""For a script that may not outlive it: of the SQLite file that its first argument names."""


@contextmanager
def fixable(folder: Path) -> Iterator[Path]:
    """Whatever is left immutable in it is not afterwards; skips where none can be made so."""
    (folder / "probe").touch()
    if _chattr("+i", folder / "probe"):
        pytest.skip("no file can be made immutable here")
    try:
        yield folder
    finally:
        _chattr("-i", *folder.iterdir())


def _chattr(*words: str | Path) -> int:
    return subprocess.run(["/usr/bin/env", "chattr", *words], stderr=subprocess.DEVNULL, check=False).returncode
