from __future__ import annotations

import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain import errors
from control_plane.domain.errors import InvalidId
from control_plane.domain.ids import NodeId, RuntimeId, checked, instance_name, parsed, resource_name
from wire.refusal import Refusal

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, Refusal) and kind is not Refusal and kind.__module__ == errors.__name__
]


def test_the_tree_at_the_head_of_the_module_names_every_refusal_once() -> None:
    tree = (errors.__doc__ or "").split("Refusal\n")[1]
    named = re.findall(r"[A-Z][A-Za-z]+(?!\w|:)", tree)
    assert sorted(named) == sorted(kind.__name__ for kind in KINDS)


def test_every_refusal_has_a_reason_of_its_own_that_reads_like_its_name() -> None:
    for kind in KINDS:
        assert kind.reason == re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).upper()


@pytest.mark.parametrize("text", ["a", "llama.cpp-preview/linux-x86_64-cpu", "a/b/c", "0", "a" * 128])
def test_a_display_id_survives_its_resource_name(text: str) -> None:
    assert checked(text, "runtime") == text
    assert parsed(resource_name("runtimes", text), "runtimes", "runtime") == text
    assert parsed(text, "runtimes", "runtime") == text


@pytest.mark.parametrize("text", ["", "/", "a/", "/a", "a__b", "a_/b", "A", "a b", "é", ".a", "a" * 129, "../a", "a\n"])
def test_a_bad_id_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(InvalidId) as caught:
        checked(text, "runtime")
    assert "1 to 128" in caught.value.remedy


@given(st.text("ab0._-/", max_size=8))
def test_no_two_ids_share_a_resource_name(text: str) -> None:
    try:
        checked(text, "runtime")
    except InvalidId:
        return
    assert parsed(resource_name("runtimes", text), "runtimes", "runtime") == text


def test_an_instance_is_named_after_its_node_and_runtime() -> None:
    assert instance_name(NodeId("a/b"), RuntimeId("c/d")) == "nodes/a__b/instances/c__d"
