"""What speaks for and against nodes that would do. A point is worth one runtime more or less on a node."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from control_plane.domain.footprint import Footprints
from control_plane.domain.health import Grade, grade
from control_plane.domain.ids import NodeId
from control_plane.domain.model import Model
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.device_choice import has_accelerator
from control_plane.domain.runtime import PlacementStrategy, Runtime
from control_plane.domain.view import RuntimeView

HERE_SCORE = 1000
ACCELERATOR_SCORE = 500
MODEL_SCORE = 3
LAST_SCORE = 2
TROUBLED_SCORE = -2
MOST_STRAIN = 5
_STRAIN = {Grade.A: 0, Grade.B: 1, Grade.C: 1, Grade.D: 0, Grade.F: 2}

Merit = tuple[int, str]
"""Points, and why."""


def merits(runtime: Runtime, view: NodeView, loaded: Collection[NodeId]) -> list[Merit]:
    """Those that do not change while placing. `loaded`: nodes where its model's file was in memory before."""
    found: list[Merit] = []
    if has_accelerator(runtime, view):
        found.append((ACCELERATOR_SCORE, "has the accelerator"))
    if view.node.id in loaded:
        found.append((MODEL_SCORE, "its model was loaded here before"))
    if runtime.departure is not None and runtime.departure.node == view.node.id:
        found.append((LAST_SCORE, "it ran here last"))
    if view.troubles:
        found.append((TROUBLED_SCORE, "the node says that something is wrong with it"))
    if view.strain:
        found.append((-view.strain, "runtimes here fail or were restarted of late"))
    return found


def points(found: Iterable[Merit]) -> int:
    return sum(each for each, _ in found)


def of_load(runtime: Runtime, load: int) -> Merit:
    """`load`: how many others are placed there."""
    if runtime.spec.placement.strategy is PlacementStrategy.BINPACK:
        return load, f"{load} other runtimes placed here, to be packed together"
    return -load, f"{load} other runtimes placed here"


def loaded_on(model: Model | None, footprints: Footprints) -> frozenset[NodeId]:
    """Where the model's file was in memory, as far as nodes told."""
    if model is None:
        return frozenset()
    known = (by_node for key, by_node in footprints.items() if key.model_sha256 == model.sha256)
    return frozenset(node for by_node in known for node in by_node)


def strain(views: Iterable[RuntimeView]) -> int:
    """Of one node, by the health of what is placed there."""
    return min(MOST_STRAIN, sum(_STRAIN[grade(view)] for view in views))
