"""What serves, as Ollama lists it. Sizes, digests and families are not known here, and told as empty."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec

from gateway.ports import ServedModel, Task

_DETAILS = {
    "parent_model": "",
    "format": "",
    "family": "",
    "families": [],
    "parameter_size": "",
    "quantization_level": "",
}
_LATEST = ":latest"


class Show(msgspec.Struct):
    model: str | None = None
    name: str | None = None
    """As older clients say it."""


def plain(model: str) -> str:
    """Ollama's clients add what it calls the newest."""
    return model.removesuffix(_LATEST)


@cache
def own_version() -> str:
    return version("arw")


def tags(models: Sequence[ServedModel]) -> dict[str, Any]:
    return {"models": [_entry(model) for model in models]}


def running(models: Sequence[ServedModel]) -> dict[str, Any]:
    """For as long as they are declared, or until they leave memory for want of requests: that is not known here."""
    loaded = [_entry(model) for model in models if model.loaded]
    return {"models": [entry | {"expires_at": "9999-12-31T23:59:59Z", "size_vram": 0} for entry in loaded]}


def shown(model: ServedModel) -> dict[str, Any]:
    return {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": _DETAILS,
        "model_info": {"general.basename": model.model or model.id},
        "capabilities": _capabilities(model),
        "modified_at": _time(model),
    }


def _entry(model: ServedModel) -> dict[str, Any]:
    same = {"name": model.id, "model": model.id}
    return {**same, "modified_at": _time(model), "size": 0, "digest": "", "details": _DETAILS}


def _capabilities(model: ServedModel) -> list[str]:
    if Task.TEXT not in model.tasks:
        return []
    if model.embeds:
        return ["embedding"]
    return ["completion", *(["vision"] if Task.VISION in model.tasks else [])]


def _time(model: ServedModel) -> str:
    return datetime.fromtimestamp(model.created, UTC).isoformat()
