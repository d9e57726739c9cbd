"""Finds whisper.cpp on this machine, and says which files the trust in it must cover."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from node_agent.domain.errors import EngineNotFound
from node_agent.runtimes import fronts
from node_agent.runtimes.engines import Candidate, program

WHISPER_CPP = "whisper.cpp"
BINARY = "whisper-server"
WHEEL = "_pywhispercpp"
WHEEL_LIBRARIES = "pywhispercpp.libs"
LIBRARIES = ("libggml*.so*", "libwhisper*.so*")
FOLDER = Path(fronts.__path__[0])
FRONT = FOLDER / "whisper_wheel.py"


def found() -> Sequence[Candidate]:
    """The binary on PATH, then the wheel."""
    on_path = shutil.which(BINARY)
    wheel = [_front()] if _wheel() is not None else []
    return [*([candidate(Path(on_path))] if on_path else []), *wheel]


def candidate(path: Path) -> Candidate:
    """A whisper-server with the libraries beside it, or the wheel's front. EngineNotFound."""
    path = path.absolute()
    if path.resolve() == FRONT.resolve():
        return _front()
    one = program(WHISPER_CPP, path)
    beside = {library.resolve() for mark in LIBRARIES for library in path.resolve().parent.glob(mark)}
    return Candidate(one.adapter, one.command, (*one.files, *sorted(beside)))


def _front() -> Candidate:
    wheel = _wheel()
    if wheel is None:
        raise EngineNotFound(
            "The pywhispercpp wheel is not installed beside this agent.", "Install it with `pip install arw[whisper]`."
        )
    rest = sorted(FOLDER.glob("whisper_*.py"))
    rest.remove(FRONT)
    files = (FRONT, *rest, wheel, *sorted((wheel.parent / WHEEL_LIBRARIES).glob("*.so*")))
    return Candidate(WHISPER_CPP, (sys.executable, "-I", str(FRONT)), files)


def _wheel() -> Path | None:
    """The wheel's library, found without importing it."""
    spec = importlib.util.find_spec(WHEEL)
    return Path(spec.origin) if spec is not None and spec.origin else None
