"""Placement by what launches really took."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.footprint import Footprint, FootprintKey, options_of
from control_plane.domain.ids import NodeId
from control_plane.domain.node_view import NodeView
from control_plane.domain.placing.objections import objections
from control_plane.domain.runtime import EngineSettings
from control_plane.sessions.footprints import KEYS, NODES, LearntFootprints
from tests.fakes.control_plane import ENGINE, SIZE, a_model, a_node, a_runtime, a_spec, an_inventory, seen

CPU, CUDA = AcceleratorKind.CPU, AcceleratorKind.GPU_CUDA
SETTINGS = EngineSettings(context_length=8192)
KEY = FootprintKey(a_model().sha256, ENGINE.sha256, options_of(SETTINGS), CPU)
RUNTIME = a_runtime(spec=a_spec(settings=SETTINGS, accelerator=CPU))


def refused(view: NodeView, **changed: object) -> str | None:
    """Why memory does not do."""
    spec = replace(RUNTIME.spec, **changed)  # type: ignore[arg-type]
    found = objections(replace(RUNTIME, spec=spec), a_model(), view)
    return next((problem.text for problem in found if problem.reason == "MEMORY_INSUFFICIENT"), None)


def on(name: str, memory_bytes: int, **told: int) -> NodeView:
    node = a_node(name, inventory=replace(an_inventory(), memory_bytes=memory_bytes))
    return replace(
        seen(node), footprints={KEY: {NodeId(who): Footprint(KEY, size) for who, size in told.items()}} if told else {}
    )


def test_what_was_measured_counts_in_place_of_the_estimate() -> None:
    assert refused(on("n1", SIZE * 2)) is None
    assert refused(on("n1", SIZE * 2, n1=SIZE * 3)) is not None
    assert "needs about" in (refused(on("n1", SIZE)) or "")
    assert refused(on("n1", SIZE, n1=SIZE // 2)) is None


def test_a_measure_of_another_node_counts_and_no_single_one_decides() -> None:
    assert " took " in (refused(on("n1", SIZE * 2, n2=SIZE * 3)) or "")
    assert refused(on("n1", SIZE * 2, n2=SIZE, n3=SIZE, liar=SIZE * 1000)) is None
    assert refused(on("n1", SIZE * 2, n1=SIZE, liar=SIZE * 1000)) is None


@pytest.mark.parametrize(
    "changed", [{"settings": EngineSettings(context_length=16384)}, {"settings": EngineSettings()}]
)
def test_what_ran_with_other_options_tells_nothing(changed: dict[str, object]) -> None:
    assert refused(on("n1", SIZE * 2, n1=SIZE * 3), **changed) is None


def test_another_engine_another_file_or_another_device_tells_nothing() -> None:
    view = on("n1", SIZE * 2)
    changes = ({"engine_sha256": "ff" * 32}, {"model_sha256": "ff" * 32}, {"accelerator": CUDA})
    for key in (replace(KEY, **change) for change in changes):
        assert refused(replace(view, footprints={key: {NodeId("n1"): Footprint(key, SIZE * 3)}})) is None


def test_speeds_are_kept_with_it_for_each_node_and_what_is_unknown_stays_so() -> None:
    learnt = LearntFootprints()
    learnt.learn(NodeId("n1"), Footprint(KEY, 1, generated_tokens_per_second=9.25))
    learnt.learn(NodeId("n2"), Footprint(KEY, 1))
    speeds = {node: told.generated_tokens_per_second for node, told in learnt.told[KEY].items()}
    assert speeds == {"n1": 9.25, "n2": None}


def test_of_too_many_the_oldest_are_forgotten() -> None:
    learnt = LearntFootprints()
    for number in range(NODES + 1):
        learnt.learn(NodeId(f"n{number}"), Footprint(KEY, number))
    assert len(learnt.told[KEY]) == NODES
    assert NodeId("n0") not in learnt.told[KEY]
    for number in range(KEYS):
        learnt.learn(NodeId("n"), Footprint(replace(KEY, options=str(number)), 1))
    assert len(learnt.told) == KEYS
    assert KEY not in learnt.told
