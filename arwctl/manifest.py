"""A manifest as the command line reads it: which models it brings. The control plane judges the rest."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arw_client import ArwError
from arw_client import messages as m

MAX_BYTES = 1 << 20
_STDIN = Path("stdin")


@dataclass(frozen=True, slots=True)
class Declared:
    """What a manifest says of a model's file."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BroughtModel:
    id: str
    path: Path
    projector: Path | None = None
    declared: Mapping[Path, Declared] = field(default_factory=dict)
    """By file; of one that is here, what it holds has to agree."""
    format: str = ""
    """Empty: the file itself tells."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that have to be here: what is declared whole may lie on the nodes alone."""
        named = (self.path, self.projector) if self.projector is not None else (self.path,)
        return tuple(file for file in named if file not in self.declared or file.exists())


@dataclass(frozen=True, slots=True)
class ManifestFile:
    path: Path
    content: bytes
    format: m.ManifestFormat
    models: tuple[BroughtModel, ...]

    def request(self, *, validate_only: bool, prune: bool = False) -> m.ApplyManifestRequest:
        return m.ApplyManifestRequest(
            content=self.content,
            format=self.format,
            source=self.path.name,
            validate_only=validate_only,
            prune=prune,
        )


def read(path: Path, *, prune: bool = False) -> ManifestFile:
    """ArwError when the file cannot be read as TOML or JSON, or a [[models]] entry lacks its id or path.

    "-" is standard input, beside the working directory's files; one that begins with a brace is JSON. `prune`: it is to
    remove what a manifest of its name declared before.
    """
    if path == Path("-"):
        path, content = _STDIN, _given(prune=prune)
    else:
        content = _content(path)
    if len(content) > MAX_BYTES:
        raise _invalid(f"{path} is larger than 1 MiB.")
    as_json = path.suffix == ".json" or (path == _STDIN and content.lstrip().startswith(b"{"))
    form = m.ManifestFormat.JSON if as_json else m.ManifestFormat.TOML
    try:
        text = content.decode()
        found = json.loads(text) if as_json else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"{path} is not {form.name}: {error}.") from error
    return ManifestFile(path, content, form, tuple(_models(found, path)))


def external(runtime: str, url: str, model: str) -> ManifestFile:
    """One runtime that stands for a server that runs already."""
    entry = {"id": runtime, "adapter": "external", "auto_start": True, "external": {"url": url, "model": model}}
    content = json.dumps({"version": 1, "runtimes": [entry]}).encode()
    return ManifestFile(Path("attach"), content, m.ManifestFormat.JSON, ())


def _given(*, prune: bool) -> bytes:
    if prune:
        raise ArwError(
            "INVALID_ARGUMENT",
            "--prune goes by the name of the manifest's file, and standard input has none.",
            "Write the manifest to a file and name that: -f FILE --prune.",
        )
    return sys.stdin.buffer.read(MAX_BYTES + 1)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArwError(
            "NOT_FOUND", f"{path} cannot be read: {error.strerror}.", "Name a manifest with -f FILE."
        ) from error


def _models(found: Any, path: Path) -> list[BroughtModel]:
    entries = found.get("models", []) if isinstance(found, dict) else []
    if not isinstance(entries, list):
        raise _invalid(f"In {path}, models is not a list.")
    return [_model(entry, number, path) for number, entry in enumerate(entries)]


def _model(entry: Any, number: int, path: Path) -> BroughtModel:
    match entry:
        case {"id": str(id_), "path": str(file)} if id_ and file:
            projector = entry.get("projector")
            beside = _beside(path, projector) if isinstance(projector, str) and projector else None
            main, said = _beside(path, file), _declared(entry, "")
            eye = _declared(entry, "projector_")
            found = {main: said, **({beside: eye} if beside else {})}
            declared = {file: told for file, told in found.items() if told is not None}
            return BroughtModel(id_, main, beside, declared, str(entry.get("format", "")))
        case _:
            raise _invalid(f"In {path}, models[{number}] needs an id and a path, both text.")


def _declared(entry: Mapping[str, Any], prefix: str) -> Declared | None:
    """None: not said, or not whole, which the control plane judges."""
    match entry.get(f"{prefix}sha256"), entry.get(f"{prefix}size_bytes"):
        case str(sha256), int(size) if sha256 and size:
            return Declared(sha256, size)
        case _:
            return None


def _beside(manifest: Path, file: str) -> Path:
    return manifest.absolute().parent / Path(file).expanduser()


def _invalid(text: str) -> ArwError:
    return ArwError(
        "MANIFEST_INVALID", text, "Correct the manifest; configs/examples/tiny-chat.toml shows a whole one."
    )
