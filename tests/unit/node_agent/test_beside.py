from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from node_agent.domain.beside import SPARE_BYTES, Free, Pair, hindrance
from node_agent.domain.footprint import Footprint, FootprintKey
from node_agent.domain.limits import Limits
from node_agent.domain.spec import ExecutionMode, ModelFile, ProcessSettings
from tests.fakes.instance_specs import spec

GIB = 1 << 30
BIG = spec(model=ModelFile("models/big", "/models/big.gguf", "", 10 * GIB))
PLENTY = Free(100 * GIB, 100 * GIB)
NATIVE = frozenset({ExecutionMode.NATIVE})


def pair(**changes: Any) -> Pair:
    return replace(Pair(BIG, BIG, NATIVE, serves=True, on_device=False), **changes)


def measured(memory: int, device: int | None = None) -> Footprint:
    return Footprint(FootprintKey("model", "engine", ""), memory, device_memory_bytes=device)


def test_with_room_for_both_nothing_is_in_the_way() -> None:
    assert hindrance(pair(), Limits(), [], PLENTY) == ""
    assert hindrance(pair(on_device=True), Limits(), [], PLENTY) == ""


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"serves": False}, "did not serve"),
        ({"modes": frozenset(ExecutionMode)}, "containers"),
        ({"new": spec(process=ProcessSettings(("/bin/x",), port=8080))}, "port 8080"),
    ],
)
def test_some_are_replaced_one_after_the_other_whatever_the_room(changes: dict[str, Any], why: str) -> None:
    assert why in hindrance(pair(**changes), Limits(), [], PLENTY)


def test_the_owners_limits_hold_for_both_together_and_beside_the_others() -> None:
    assert "gives a runtime" in hindrance(pair(), Limits(memory_per_runtime_bytes=20 * GIB), [], PLENTY)
    assert hindrance(pair(), Limits(memory_bytes=25 * GIB), [], PLENTY) == ""
    assert "gives all runtimes" in hindrance(pair(), Limits(memory_bytes=25 * GIB), [BIG], PLENTY)


def test_what_was_measured_counts_more_than_what_is_reckoned() -> None:
    assert "of 5120 MiB" in hindrance(pair(), Limits(), [], Free(5 * GIB))
    assert hindrance(pair(known=measured(2 * GIB)), Limits(), [], Free(5 * GIB)) == ""
    assert "of 5120 MiB" in hindrance(pair(known=measured(5 * GIB)), Limits(), [], Free(5 * GIB))


def test_a_device_must_have_room_too() -> None:
    on_device = pair(on_device=True, known=measured(GIB, 4 * GIB))
    assert hindrance(on_device, Limits(), [], Free(50 * GIB, 4 * GIB + SPARE_BYTES)) == ""
    assert "device's memory" in hindrance(on_device, Limits(), [], Free(50 * GIB, 4 * GIB))


def test_what_is_not_known_is_no_room() -> None:
    assert "not known" in hindrance(pair(), Limits(), [], Free())
    assert "not known" in hindrance(pair(on_device=True), Limits(), [], Free(100 * GIB))
