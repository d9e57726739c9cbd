"""A made-up NVIDIA driver library, compiled once a run, for child processes to load."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("nvml") / "fake_nvml.c"
FLAGS = ("-w", "-O1", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1")


@functools.cache
def library_folder() -> Path:
    """Where libnvidia-ml.so.1 lies; skips the test where nothing can compile it."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc to compile the made-up NVIDIA driver with")
    folder = Path(tempfile.mkdtemp(prefix="fake-nvml-"))
    subprocess.run([compiler, *FLAGS, "-o", folder / "libnvidia-ml.so.1", SOURCE], check=True)
    return folder


@dataclass(frozen=True, slots=True)
class FakeDriver:
    """`says` changes what it tells, also of processes that have it open."""

    state: Path

    def says(self, **settings: int) -> None:
        lines = [f"FAKE_NVML_{name.upper()}={value}\n" for name, value in settings.items()]
        fresh = self.state.with_suffix(".new")
        fresh.write_text("".join(lines))
        fresh.replace(self.state)


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """For children of this process: they inherit LD_LIBRARY_PATH, which leads them to it."""
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has NVIDIA GPUs of its own, which the made-up driver does not know")
    here = folder / "driver"
    here.mkdir()
    (here / "libnvidia-ml.so.1").symlink_to(library_folder() / "libnvidia-ml.so.1")
    driver = FakeDriver(here / "state")
    driver.says()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(here))
    return driver
