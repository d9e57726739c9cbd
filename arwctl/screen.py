"""What a person sees: results on standard output, everything else on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

from arw_client import ArwError
from arwctl.plain import one_line, plain

RED, GREEN, YELLOW, DIM, BOLD = "31", "32", "33", "2", "1"
BY_SEVERITY = {"info": GREEN, "warn": YELLOW, "error": RED}


class Screen:
    """Colour only where the stream is a terminal and NO_COLOR is not set."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.err = err or sys.stderr

    @property
    def is_terminal(self) -> bool:
        return self.out.isatty()

    def line(self, text: object = "") -> None:
        self.write(f"{plain(text)}\n")

    def write(self, text: str) -> None:
        """Text as it is, at once: the caller made it safe."""
        self.out.write(text)
        self.out.flush()

    def note(self, text: object, colour: str = DIM) -> None:
        """Progress and hints: one line on standard error."""
        self.err.write(f"{painted(self.err, plain(text), colour)}\n")
        self.err.flush()

    def error(self, error: ArwError) -> None:
        """One line says what happened, one what to do next."""
        self.note(f"error: {one_line(error.text)}", RED)
        for line in getattr(error, "__notes__", ()):
            self.note(f"  | {one_line(line)}")
        if error.remedy:
            self.note(f"next:  {one_line(error.remedy)}", BOLD)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        cells = [[one_line(cell) for cell in row] for row in rows]
        widths = [max(len(row[column]) for row in [list(heads), *cells]) for column in range(len(heads))]
        for number, row in enumerate([[head.upper() for head in heads], *cells]):
            text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            self.write(f"{painted(self.out, text, BOLD) if number == 0 else text}\n")

    def coloured(self, text: object, colour: str) -> str:
        """Safe text for `write`, in colour on a terminal."""
        return painted(self.out, plain(text), colour)


def painted(stream: TextIO, text: str, colour: str) -> str:
    if not colour or not stream.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"
