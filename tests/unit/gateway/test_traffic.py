from __future__ import annotations

from datetime import timedelta

import pytest

from control_plane.data_path.traffic import WINDOW, TrafficMeter
from control_plane.domain.ids import NodeId
from gateway.ports import Exchange, Route, Tokens
from tests.fakes.clock import FakeClock

BOX = NodeId("box")
INSTANCE = "nodes/box/instances/tiny"


def exchange(status: int = 200, first_byte_ms: float | None = 10, **changes: bool) -> Exchange:
    ends = {"complete": True, "abandoned": False, "refused_by_node": False, **changes}
    route = Route(INSTANCE, "box", "system", 1, "tiny")
    return Exchange(
        route,
        "ops",
        "/v1/x",
        status,
        True,
        ends["complete"],
        ends["abandoned"],
        first_byte_ms,
        None,
        20,
        5,
        Tokens(3, 4),
        "t",
        ends["refused_by_node"],
    )


def test_a_node_without_requests_has_no_rate() -> None:
    figures = TrafficMeter(FakeClock()).window(BOX)
    assert (figures.hits, figures.errors, figures.error_rate, figures.mean_first_byte_ms) == (0, 0, None, None)


def test_hits_and_first_bytes_add_up_by_node_and_by_instance() -> None:
    meter = TrafficMeter(FakeClock())
    meter.record(exchange(first_byte_ms=10))
    meter.record(exchange(first_byte_ms=30))
    figures = meter.window(BOX)
    assert (figures.hits, figures.mean_first_byte_ms) == (2, 20)
    assert meter.of_instance(INSTANCE).completion_tokens == 8
    assert meter.window(NodeId("other")).hits == 0


@pytest.mark.parametrize(
    ("ended", "errors"),
    [
        (exchange(502, refused_by_node=True), 1),
        (exchange(503, refused_by_node=True), 1),
        (exchange(403, refused_by_node=True), 0),
        (exchange(500), 0),
        (exchange(501), 0),
        (exchange(400), 0),
        (exchange(403), 0),
        (exchange(200, complete=False), 1),
        (exchange(500, complete=False), 1),
        (exchange(0, None, complete=False), 1),
        (exchange(200, complete=False, abandoned=True), 0),
    ],
)
def test_only_what_the_node_did_wrong_is_an_error(ended: Exchange, errors: int) -> None:
    meter = TrafficMeter(FakeClock())
    meter.record(ended)
    assert meter.window(BOX).errors == errors


@pytest.mark.parametrize(
    ("ended", "errors"),
    [
        (exchange(500), 1),
        (exchange(503), 1),
        (exchange(501), 0),
        (exchange(400), 0),
        (exchange(200), 0),
        (exchange(502, refused_by_node=True), 0),
        (exchange(500, complete=False), 0),
        (exchange(500, complete=False, abandoned=True), 0),
    ],
)
def test_an_error_that_the_engine_answered_itself_is_the_engines(ended: Exchange, errors: int) -> None:
    meter = TrafficMeter(FakeClock())
    meter.record(ended)
    assert (meter.window(BOX).engine_errors, meter.of_instance(INSTANCE).engine_errors) == (errors, errors)


def test_one_error_does_not_stay_for_ever() -> None:
    clock = FakeClock()
    meter = TrafficMeter(clock)
    meter.record(exchange(502, refused_by_node=True))
    clock.advance(timedelta(seconds=60))
    meter.record(exchange())
    assert meter.window(BOX).error_rate == 0.5
    clock.advance(WINDOW - timedelta(seconds=50))
    assert (meter.window(BOX).hits, meter.window(BOX).errors) == (1, 0)
    clock.advance(WINDOW)
    assert meter.window(BOX).hits == 0
    assert not meter._nodes
