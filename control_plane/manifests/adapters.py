"""What each adapter of the node agent asks of a manifest. One that is not known here is judged by the node alone."""

from __future__ import annotations

from pathlib import PurePosixPath

from msgspec import UNSET

from control_plane.domain.runtime import EXTERNAL
from control_plane.manifests.shapes import Process, RuntimeEntry
from wire.strict import Check, Path

PROCESS = "process"
LLAMAFILE = "llamafile"
"""May hold its model itself."""
ENGINES = frozenset({"llama.cpp", "onnxruntime", "piper", "vllm", "whisper.cpp"})
"""They need a model."""

KNOWN = ENGINES | {LLAMAFILE, PROCESS, EXTERNAL}


def check_adapter(entry: RuntimeEntry, path: Path, check: Check) -> None:
    if entry.adapter not in KNOWN:
        return
    if entry.adapter in ENGINES and not entry.model:
        check.note(path, f"lacks 'model': {entry.adapter} needs one")
    for name, section, owner in (("process", entry.process, PROCESS), ("external", entry.external, EXTERNAL)):
        if entry.adapter == owner and section is None:
            check.note(path, f"lacks {name!r}: the adapter {owner} needs it")
        if entry.adapter != owner and section is not None:
            check.note((*path, name), f"is for the adapter {owner}, not for {entry.adapter}")
    if entry.adapter == EXTERNAL and entry.model:
        check.note((*path, "model"), "is for engines that are started here; external.model names what it serves")
    if entry.adapter == EXTERNAL:
        _check_no_mode(entry, path, check)
    if entry.process is not None:
        _check_process(entry.process, (*path, "process"), check)


def _check_no_mode(entry: RuntimeEntry, path: Path, check: Check) -> None:
    given = {"modes": entry.modes, "preferred_mode": entry.preferred_mode is not UNSET, "image": entry.image}
    for name in (name for name, value in given.items() if value):
        check.note((*path, name), "is for engines that are started here")


def _check_process(process: Process, path: Path, check: Check) -> None:
    if not PurePosixPath(process.command[0]).is_absolute():
        check.note((*path, "command"), "must begin with the absolute path of a program")
    if process.working_directory and not PurePosixPath(process.working_directory).is_absolute():
        check.note((*path, "working_directory"), "must be an absolute path")
    if not process.port and not any("{port}" in part for part in process.command[1:]):
        check.note((*path, "command"), "must say where {port} goes, unless port is set")
