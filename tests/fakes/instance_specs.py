"""Specs for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from node_agent.domain.spec import DesiredState, Hold, InstanceName, InstanceSpec, ModelFile

NAME = InstanceName("nodes/n/instances/demo__tiny")


def spec(**changes: Any) -> InstanceSpec:
    values: dict[str, Any] = {
        "name": NAME,
        "generation": 1,
        "revision": 1,
        "runtime_id": "demo/tiny",
        "adapter": "llama.cpp",
        "model": ModelFile("models/tiny", "/models/tiny.gguf", "", 0),
        "desired_state": DesiredState.RUNNING,
        "auto_start": True,
        "holds": frozenset({Hold("system", 1)}),
    }
    return InstanceSpec(**{**values, **changes})


def model_at(path: Path, sha256: str = "") -> ModelFile:
    return ModelFile("models/tiny", str(path), sha256, path.stat().st_size)
