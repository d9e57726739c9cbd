"""What is made of a request's body, before anything is known of who will answer it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errands import ERRANDS
from gateway.ports import Route, Task
from gateway.refusals import GatewayRefusal
from tests.fakes.forms import FORM
from wire.http_head import Request

PLAIN = Route("nodes/a/instances/b", "a", "system", 1, "b")
SPEAKS = Route("nodes/a/instances/b", "a", "system", 1, "b", frozenset((Task.TEXT, Task.MESSAGES)))


def posted(path: bytes, body: bytes) -> Request:
    request = Request(len(body))
    request.method, request.target, request.body = b"POST", path, body
    request.headers = [(b"content-type", FORM.encode())]
    return request


def attempt(path: bytes, body: bytes, route: Route) -> None:
    """GatewayRefusal, and nothing else, for what makes no sense."""
    try:
        errand = ERRANDS[path](posted(path, body))
        assert errand.model
        errand.sent(route)
    except GatewayRefusal:
        return


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_names = st.sampled_from(["model", "messages", "prompt", "input", "image", "system", "tools", "stream", "options"])


@given(st.sampled_from(sorted(ERRANDS)), st.binary(max_size=200), st.sampled_from([PLAIN, SPEAKS]))
def test_whatever_bytes_arrive_there_is_an_errand_or_a_refusal(path: bytes, body: bytes, route: Route) -> None:
    attempt(path, body, route)


@given(st.sampled_from(sorted(ERRANDS)), st.dictionaries(_names, _json), st.sampled_from([PLAIN, SPEAKS]))
def test_whatever_fields_arrive_there_is_an_errand_or_a_refusal(path: bytes, fields: Any, route: Route) -> None:
    attempt(path, json.dumps({"model": "tiny"} | fields).encode(), route)


@pytest.mark.parametrize("path", sorted(ERRANDS))
def test_half_a_character_in_a_name_is_no_accident_for_us(path: bytes) -> None:
    attempt(path, b'{"model": "\\ud800", "messages": [{"role": "user", "content": "\\udfff"}]}', PLAIN)
