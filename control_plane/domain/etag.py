from __future__ import annotations

import hashlib
import json

from control_plane.domain.model import Model
from control_plane.domain.node import Node
from control_plane.domain.project import Project
from control_plane.domain.runtime import Runtime


def of_runtime(runtime: Runtime) -> str:
    """Changes with what operators control; a new place or an observed change leaves it alone."""
    return _digest(runtime.uid, runtime.generation, runtime.desired_state, runtime.restore.serial)


def of_model(model: Model) -> str:
    parts = (model.uid, model.path, model.sha256, model.size_bytes, model.format)
    projector = (model.projector.path, model.projector.sha256) if model.projector is not None else ()
    return _digest(*parts, *projector)


def of_node(node: Node) -> str:
    drain = (node.drain.since.isoformat(), node.drain.until and node.drain.until.isoformat()) if node.drain else ()
    later = (*drain, *(["overcommit"] if node.overcommit else []), node.given_up_epoch or "")
    return _digest(node.uid, node.standing, node.schedulable, sorted(node.labels.items()), *filter(None, later))


def of_project(project: Project) -> str:
    pins = [(pin.asked, str(pin.combination), pin.fallback) for pin in project.pins]
    return _digest(project.uid, project.display_name, project.disabled, pins)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
