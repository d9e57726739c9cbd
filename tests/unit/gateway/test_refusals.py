from __future__ import annotations

import json

import pytest

from arw.v1 import problem_pb2
from gateway import refusals
from gateway.answers import refused
from wire.error_status import STATUS

KINDS = [
    kind for kind in vars(refusals).values() if isinstance(kind, type) and issubclass(kind, refusals.GatewayRefusal)
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_refusal_has_a_known_reason_and_an_error_status(kind: type[refusals.GatewayRefusal]) -> None:
    assert kind.reason in STATUS
    assert problem_pb2.Reason.Value(f"REASON_{kind.reason}")
    assert 400 <= kind.status < 600


def test_under_v1_a_refusal_looks_like_openais_and_elsewhere_like_a_problem() -> None:
    refusal = refusals.NotServing("It starts.", "Wait.", retry_after=3)
    head, _, body = refused(b"/v1/chat/completions", refusal, "abc", close=True).partition(b"\r\n\r\n")
    assert json.loads(body)["error"] == {
        "message": "It starts.",
        "remedy": "Wait.",
        "type": "unavailable_error",
        "code": "not_ready",
        "param": None,
    }
    lines = head.decode().split("\r\n")
    assert {"retry-after: 3", "x-request-id: abc", "connection: close"} <= set(lines)
    assert lines[0] == "HTTP/1.1 503 Service Unavailable"
    _, _, body = refused(b"/state/runtimes", refusal, "abc", close=False).partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert problem["title"] == "Service Unavailable"
    assert (problem["detail"], problem["remedy"]) == ("It starts.", "Wait.")


def test_a_refusal_without_a_remedy_names_none() -> None:
    _, _, body = refused(b"/v1/models", refusals.BadRequest("No."), "abc", close=False).partition(b"\r\n\r\n")
    assert "remedy" not in json.loads(body)["error"]
