"""JSON that a vendor's tool wrote. Anything else is a tool that failed."""

from __future__ import annotations

import json
from typing import Any

from node_agent.hardware.host import ToolFailedError


def object_in(said: str) -> dict[str, Any]:
    """ToolFailedError."""
    told = _read(said)
    if not isinstance(told, dict):
        raise ToolFailedError("its answer is no JSON object")
    return told


def objects_in(said: str, wrapped_in: str = "") -> list[dict[str, Any]]:
    """Of a list, or of an object that holds the list under `wrapped_in`. ToolFailedError."""
    told = _read(said)
    entries = told.get(wrapped_in) if isinstance(told, dict) else told
    if not isinstance(entries, list):
        raise ToolFailedError("its answer is no JSON list")
    return [entry for entry in entries if isinstance(entry, dict)]


def _read(said: str) -> Any:
    try:
        return json.loads(said)
    except ValueError:
        raise ToolFailedError("its answer is no JSON") from None
