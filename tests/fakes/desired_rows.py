from __future__ import annotations

from control_plane.domain.desired import DesiredRow, Placed
from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.model import Model
from control_plane.domain.runtime import DesiredState, Runtime, RuntimeSpec
from tests.fakes.clock import NOON


def row(name: str, revision: int, generation: int = 1, *, gone: bool = False, text: str = "") -> DesiredRow:
    """What node n1 is to have of a runtime; `gone`: a tombstone."""
    spec = RuntimeSpec(adapter="llama.cpp", model=ModelId("m"), tags={"text": text})
    runtime = Runtime(
        RuntimeId(name), "u", "e", spec, DesiredState.RUNNING, generation, revision, NOON, NOON, NodeId("n1")
    )
    content = None if gone else Placed(runtime, Model(ModelId("m"), "u", "e", "/m.gguf", "00", 1))
    return DesiredRow(NodeId("n1"), f"nodes/n1/instances/{name}", revision, generation, content)
