"""Clocks that a test sets for one process, while it runs."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

NOTHING = timedelta()
SOURCE = Path(__file__).with_suffix(".c")


@dataclass(frozen=True, slots=True)
class ShiftedClock:
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the process starts with; its children have the same clock."""
        return {"LD_PRELOAD": str(self.folder / "shifted_clock.so"), "SHIFTED_CLOCK": str(self.folder / "shift")}

    def build(self) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler is here to make a clock of")
        library = str(self.folder / "shifted_clock.so")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, str(SOURCE), "-ldl"], check=True)
        self.set()

    def set(self, wall: timedelta = NOTHING, suspended: timedelta = NOTHING) -> None:
        """`suspended`: how long the machine was, which the monotonic clock does not count."""
        # In place: the process has it mapped.
        with (self.folder / "shift").open("r+b" if (self.folder / "shift").exists() else "wb") as file:
            file.write(struct.pack("ll", *(int(shift.total_seconds()) for shift in (wall, suspended))))
