"""Finds engines on this machine, and says which files the trust in one must cover."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from node_agent.domain.errors import EngineNotFound

LLAMA_CPP = "llama.cpp"
BINARY = "llama-server"
WHEEL = "xllamacpp"
FRONT = Path(__file__).with_name("fronts") / "llama_wheel.py"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that could be trusted."""

    adapter: str
    command: tuple[str, ...]
    files: tuple[Path, ...]
    """What runs when the command runs: the main file first."""


def find_engines(configured: Sequence[Path] = ()) -> list[Candidate]:
    """What the owner named, then llama-server on PATH, then the wheel. EngineNotFound for a named one that is not."""
    found = [candidate(path) for path in configured]
    on_path = shutil.which(BINARY)
    if on_path:
        found.append(candidate(Path(on_path)))
    if _wheel() is not None:
        found.append(candidate(FRONT))
    return list({engine.command: engine for engine in found}.values())


def candidate(path: Path) -> Candidate:
    """The engine at a path: a llama-server with the libraries beside it, or the wheel's front."""
    path = path.absolute()
    if path.resolve() == FRONT.resolve():
        return Candidate(LLAMA_CPP, (sys.executable, "-I", str(FRONT)), (FRONT, *_wheel_files()))
    if not path.is_file():
        raise EngineNotFound(
            f"There is no engine at {path}.",
            "Give the path of a llama-server binary, or install the wheel with `pip install arw[llama]`.",
            path=str(path),
        )
    return Candidate(LLAMA_CPP, (str(path),), (path, *_libraries(path.resolve())))


def program(adapter: str, path: Path) -> Candidate:
    """One executable file, and nothing beside it. EngineNotFound when it is none."""
    path = path.absolute()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise EngineNotFound(
            f"{path} is no program that this user may run.",
            f"Give the path of an executable for {adapter}.",
            path=str(path),
        )
    return Candidate(adapter, (str(path),), (path,))


def _libraries(binary: Path) -> Iterator[Path]:
    """Released builds load their libraries from their own folder; a real file beside the binary is one of them."""
    if binary.name.startswith(BINARY):
        yield from sorted({library.resolve() for library in binary.parent.glob("lib*.so*") if _is_ggml(library)})


def _is_ggml(library: Path) -> bool:
    return library.name.startswith(("libggml", "libllama", "libmtmd"))


def _wheel() -> Path | None:
    """The wheel's folder, found without importing a hundred megabytes."""
    spec = importlib.util.find_spec(WHEEL)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _wheel_files() -> list[Path]:
    folder = _wheel()
    if folder is None:
        raise EngineNotFound(
            "The xllamacpp wheel is not installed beside this agent.", "Install it with `pip install arw[llama]`."
        )
    return sorted([*folder.glob("*.so"), *folder.glob("*.py")])
