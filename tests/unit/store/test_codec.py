"""Documents: what goes in comes out, and what a newer version wrote is read as far as it goes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect
from structlog.testing import capture_logs

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.claims.claim import Claim, Lease
from control_plane.domain.desired import Placed
from control_plane.domain.execution import ExecutionMode, ExecutionOffer, ExecutionSettings
from control_plane.domain.ids import JobId, RuntimeId
from control_plane.domain.jobs.job import Job, JobKind, JobOrder, JobState
from control_plane.domain.join_token import JoinToken
from control_plane.domain.model import Model
from control_plane.domain.node import Node, Standing
from control_plane.domain.operator import Operator
from control_plane.domain.runtime import DesiredState, MissingAccelerator, Modality, Runtime
from control_plane.store import codec
from tests.fakes.store_rows import NOON, a_node, a_runtime, placed

STORED = (Node, Runtime, Model, JoinToken, Operator, Placed, Job, Claim, Lease)

st.register_type_strategy(str, st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
st.register_type_strategy(int, st.integers(-(2**63), 2**63 - 1))
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
st.register_type_strategy(datetime, st.datetimes(timezones=st.just(UTC)))
st.register_type_strategy(timedelta, st.timedeltas(timedelta(days=-10_000), timedelta(days=10_000)))

_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
_payloads = st.dictionaries(
    st.text(), st.recursive(_leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
)


@settings(deadline=None)
@given(st.data())
@pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.__name__)
def test_every_value_comes_back_equal(kind: type[Any], data: st.DataObject) -> None:
    value = data.draw(st.from_type(kind))
    rows = codec.Codec(kind)
    assert rows.decode(rows.encode(value)) == value


@given(_payloads)
def test_every_payload_comes_back_equal(payload: dict[str, Any]) -> None:
    assert codec.decode_payload(codec.encode_payload(payload)) == payload


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_microsecond_comes_back_equal(time: datetime) -> None:
    assert codec.from_micros(codec.to_micros(time)) == time


def test_a_payload_without_a_json_form_is_refused() -> None:
    with pytest.raises(TypeError):
        codec.encode_payload({"x": object()})


def test_a_not_a_number_is_stored_as_null() -> None:
    assert codec.decode_payload(codec.encode_payload({"x": math.nan})) == {"x": None}


def test_a_field_of_a_newer_version_is_passed_over() -> None:
    document = json.loads(codec.NODE.encode(a_node("a"))) | {"rack": {"row": 7}}
    assert codec.NODE.decode(json.dumps(document)) == a_node("a")


def test_a_field_that_an_older_version_did_not_write_has_its_default() -> None:
    document = json.loads(codec.NODE.encode(a_node("a")))
    del document["inventory"], document["session_epoch"]
    assert codec.NODE.decode(json.dumps(document)) == a_node("a")


def test_rows_from_before_there_were_modes_may_run_in_any() -> None:
    document = json.loads(codec.RUNTIME.encode(a_runtime("r")))
    del document["spec"]["execution"]
    assert codec.RUNTIME.decode(json.dumps(document)).spec.execution == ExecutionSettings()


def test_a_mode_of_a_newer_version_is_never_taken_for_any_mode() -> None:
    document = json.loads(codec.RUNTIME.encode(a_runtime("r")))
    document["spec"]["execution"] |= {"modes": ["vm"], "preferred": "vm"}
    read = codec.RUNTIME.decode(json.dumps(document)).spec.execution
    assert (read.modes, read.preferred) == ((ExecutionMode.UNSPECIFIED,), ExecutionMode.UNSPECIFIED)
    document["spec"]["execution"]["modes"] = ["vm", "native"]
    assert codec.RUNTIME.decode(json.dumps(document)).spec.execution.modes == (ExecutionMode.NATIVE,)
    node = json.loads(codec.NODE.encode(a_node("a")))
    node["inventory"]["execution"] = [{"mode": "vm", "available": True}]
    assert codec.NODE.decode(json.dumps(node)).inventory.execution == (ExecutionOffer(ExecutionMode.UNSPECIFIED, True),)


def test_a_standing_of_a_newer_version_keeps_the_node_out_and_its_row_in() -> None:
    document = json.loads(codec.NODE.encode(a_node("a"))) | {"standing": "on_probation", "rack": 7}
    with capture_logs() as logs:
        assert codec.NODE.decode(json.dumps(document)) == replace(a_node("a"), standing=Standing.QUARANTINED)
    assert [entry["event"] for entry in logs] == ["newer_document_read"]


def test_unknown_values_deep_in_a_document_are_replaced_or_left_out() -> None:
    document = json.loads(codec.PLACED.encode(placed("r")))
    runtime = document["runtime"]
    runtime["desired_state"] = "paused"
    runtime["spec"] |= {"accelerator": "qpu", "on_missing_accelerator": "wait", "modalities": ["smell", "vision"]}
    read = codec.PLACED.decode(json.dumps(document)).runtime
    assert read.desired_state is DesiredState.STOPPED
    assert read.spec.accelerator is AcceleratorKind.OTHER
    assert read.spec.on_missing_accelerator is MissingAccelerator.FAIL
    assert read.spec.modalities == (Modality.VISION,)
    assert read == replace(a_runtime("r"), desired_state=read.desired_state, spec=read.spec)


def test_a_job_of_a_newer_version_is_over_and_starts_nothing() -> None:
    order = JobOrder(JobKind.SWAP_MODEL, RuntimeId("r"), timedelta(minutes=1))
    job = Job(JobId("j"), order, "local", "uid", NOON, NOON, JobState.RUNNING)
    document = json.loads(codec.JOB.encode(job)) | {"state": "paused"}
    document["order"]["kind"] = "runtime.clone"
    read = codec.JOB.decode(json.dumps(document))
    assert (read.state, read.order.kind) == (JobState.ABORTED, JobKind.HEALTH_PROBE)


def test_a_damaged_document_is_an_error_and_no_guess() -> None:
    with pytest.raises(msgspec.ValidationError):
        codec.NODE.decode('{"id": 7}')


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.__name__)
def test_every_stored_enum_has_a_cautious_reading(kind: type[Any]) -> None:
    assert set(_enums(inspect.type_info(kind))) <= set(codec._CAUTIOUS)


def _enums(shape: Any) -> Iterator[type[Enum]]:
    match shape:
        case inspect.EnumType():
            yield shape.cls
        case inspect.DataclassType():
            for field in shape.fields:
                yield from _enums(field.type)
        case inspect.VarTupleType():
            yield from _enums(shape.item_type)
        case inspect.UnionType():
            for option in shape.types:
                yield from _enums(option)
        case inspect.DictType():
            yield from _enums(shape.value_type)
        case _:
            pass
