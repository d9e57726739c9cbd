"""Models that are folders: one file of the folder stands for it, and is what its digest covers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from node_agent.domain.errors import ModelFileInvalid, ModelFileMissing
from node_agent.domain.spec import InstanceSpec

MAX_BYTES = 1 << 20


def check_folder(spec: InstanceSpec, name: str, key: str) -> None:
    """The model's file must be called `name`, and be a JSON object with `key`."""
    path = Path(spec.model.path)
    if path.name != name:
        raise _invalid(path, f"{spec.adapter} serves folders, and knows one by its {name}", name)
    try:
        found: Any = msgspec.json.decode(_read(path))
    except msgspec.DecodeError as error:
        raise _invalid(path, f"it is no JSON: {error}", name) from error
    if not isinstance(found, dict) or key not in found:
        raise _invalid(path, f"it lacks {key!r}", name)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES)
    except OSError as error:
        raise ModelFileMissing(
            f"The model file {path} cannot be opened: {error.strerror}.",
            "Put the model's folder there, readable by the user that runs the agent.",
            path=str(path),
        ) from error


def _invalid(path: Path, why: str, name: str) -> ModelFileInvalid:
    return ModelFileInvalid(
        f"The model file {path} cannot be used: {why}.", f"Add the {name} in the model's folder.", path=str(path)
    )
