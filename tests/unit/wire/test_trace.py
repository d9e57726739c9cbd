from __future__ import annotations

import pytest

from wire import trace


def test_a_context_survives_its_header() -> None:
    context = trace.new()
    assert trace.parse(context.header) == context


def test_a_child_stays_in_the_trace_with_a_span_of_its_own() -> None:
    context = trace.new()
    child = context.child()
    assert child.trace_id == context.trace_id
    assert child.span_id != context.span_id


@pytest.mark.parametrize(
    "header",
    [None, "", "garbage", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "00-" + "1" * 32 + "-" + "0" * 16 + "-01",
     "ff-" + "1" * 32 + "-" + "1" * 16 + "-01"],
)  # fmt: skip
def test_a_malformed_header_starts_a_trace_of_its_own(header: str | None) -> None:
    assert trace.parse(header) is None
    assert len(trace.continued(header).trace_id) == 32
