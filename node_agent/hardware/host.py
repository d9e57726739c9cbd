"""The machine as probes see it: files below a root, and tools that answer within a deadline.

Probes run with the standard library alone, in a child of their own.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from node_agent.domain.status import Problem
from node_agent.hardware import complaints

TOOL_PATIENCE_S = 8.0
MAX_ANSWER = 4 << 20


class ToolMissingError(Exception):
    """No such program on PATH."""


class ToolFailedError(Exception):
    """It ended badly, or not in time; the text says how, with the last line that it wrote."""

    def problem(self, what: str) -> Problem:
        return complaints.unresponsive(what, f"failed ({self})")


class Host(Protocol):
    @property
    def system(self) -> str:
        """Give "linux", "darwin" or "windows"."""

    @property
    def root(self) -> Path:
        """Holds proc, sys, dev, etc and usr."""

    def run(self, *command: str) -> str:
        """Standard output. ToolMissingError, ToolFailedError."""


class LocalHost:
    def __init__(self) -> None:
        self.system = platform.system().lower()
        self.root = Path("/")

    def run(self, *command: str) -> str:
        program = shutil.which(command[0])
        if program is None:
            raise ToolMissingError(command[0])
        try:
            done = subprocess.run(
                [program, *command[1:]],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TOOL_PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ToolFailedError(f"{command[0]} did not answer within {TOOL_PATIENCE_S:.0f} s") from None
        except OSError as error:
            raise ToolFailedError(f"{command[0]} cannot be run: {error.strerror}") from None
        if done.returncode:
            raise ToolFailedError(f"{command[0]} ended with status {done.returncode}{_last_words(done.stderr)}")
        return done.stdout[:MAX_ANSWER].decode(errors="replace")


def text(path: Path) -> str:
    """Without surrounding white space; empty when there is no such file, or it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n\t")
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """A decimal number, or a hexadecimal one that starts with 0x."""
    try:
        return int(text(path), 0)
    except ValueError:
        return None


def children(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """In name order; none when the folder is not there."""
    try:
        yield from sorted(folder.glob(pattern))
    except OSError:
        return


def target(link: Path) -> str:
    """Name of what a link points to; empty when it is none."""
    try:
        return link.readlink().name
    except OSError:
        return ""


def _last_words(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return f": {lines[-1][:200]}" if lines else ""
