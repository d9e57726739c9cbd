"""What an engine must reach to run at all: its own files, the system's, its model, and the devices."""

from __future__ import annotations

import re
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path("/")
SYSTEM = (
    *("usr", "bin", "sbin", "lib", "lib32", "lib64", "nix/store", "gnu/store", "run/opengl-driver"),
    *("opt/rocm*", "opt/cuda*", "opt/intel", "opt/amdgpu"),
    *("etc/ld.so.*", "etc/alternatives", "etc/OpenCL", "etc/vulkan", "etc/nvidia", "etc/fonts", "etc/rocm*"),
)
"""Programs, libraries, and where drivers say which library is theirs. None of it holds a secret."""
FACTS = (
    *("proc", "sys"),
    *("etc/ssl", "etc/pki", "etc/ca-certificates*", "etc/localtime", "etc/timezone", "etc/nsswitch.conf"),
    *("etc/passwd", "etc/group", "etc/hosts", "etc/host.conf", "etc/resolv.conf", "etc/gai.conf", "etc/services"),
    *("etc/protocols", "etc/mime.types", "etc/os-release", "etc/machine-id"),
)
"""Only read. /proc shows no other process's memory or environment to who is confined."""
PLAIN_DEVICES = ("dev/null", "dev/zero", "dev/full", "dev/random", "dev/urandom")
ACCELERATORS = (
    *("dev/nvidia*", "dev/nvgpu", "dev/nvmap", "dev/nvhost-*", "dev/dri", "dev/kfd", "dev/accel", "dev/dxg"),
    "dev/mali*",
)
"""By the names that drivers give."""
SHARED_MEMORY = ("dev/shm",)
"""Where the parts of one engine meet, and drivers share a device's memory."""
BESIDE_BIN = ("lib", "lib64", "libexec", "share", "pyvenv.cfg")
SHARD = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")
LINKS = 40
AGENT = Path(__file__).parents[2]
"""This package: the fronts of wheels are part of it."""


def there(patterns: Iterable[str], root: Path = ROOT) -> list[str]:
    return sorted(str(path) for pattern in patterns for path in root.glob(pattern))


def engine_paths(command: str, files: Iterable[str], search: Iterable[str], state: Path) -> list[str]:
    """Where an engine's program, interpreter and libraries lie, and where this agent's own Python does.

    No folder is among them that also holds the agent's state, a home, or what anyone may write.
    """
    programs = [Path(command), *interpreter(Path(command)), Path(sys.executable)]
    folders = [folder for program in programs for folder in program_folders(program)]
    folders += [AGENT, *(Path(file).parent for file in files)]
    folders += [Path(folder) for folder in search if folder]
    named = [Path(file) for file in files]
    kept = [folder for folder in folders if _harmless(folder, state)]
    return sorted({str(path) for path in (*named, *programs, *kept)})


def program_folders(program: Path) -> Iterator[Path]:
    """The folder of every link on the way to it, and what belongs to a `bin`."""
    for _ in range(LINKS):
        yield program.parent
        if program.parent.name == "bin":
            yield from (program.parent.parent / name for name in BESIDE_BIN)
        if not program.is_symlink():
            return
        program = program.parent / program.readlink()


def interpreter(program: Path) -> list[Path]:
    """What a script's first line names."""
    with program.open("rb") as file:
        first = file.readline(256)
    words = first[2:].decode(errors="replace").split() if first.startswith(b"#!") else []
    if words[:1] == ["/usr/bin/env"]:
        found = shutil.which(words[1]) if len(words) > 1 else None
        return [Path(found)] if found else []
    return [Path(words[0])] if words else []


def model_paths(model: str, *, whole_folder: bool) -> list[str]:
    """The file, and what stands beside it under its own name: further parts, or its configuration."""
    path = Path(model)
    if whole_folder:
        return [str(path.parent)]
    parts = path.parent.glob(SHARD.sub(r"-*-of-\1.gguf", path.name)) if SHARD.search(path.name) else ()
    return sorted({model, *map(str, parts)})


def _home() -> list[Path]:
    """None for a user that has no entry and no HOME."""
    try:
        return [Path.home()]
    except RuntimeError:
        return []


def _harmless(folder: Path, state: Path) -> bool:
    try:
        real = folder.resolve(strict=True)
        mode = real.stat().st_mode
    except OSError:
        return False
    apart = not any(kept.resolve().is_relative_to(real) for kept in (state, *_home()))
    return apart and not (stat.S_ISDIR(mode) and mode & stat.S_IWOTH)
