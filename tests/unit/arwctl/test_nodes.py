from __future__ import annotations

import io
from pathlib import Path

import pytest

from arw.v1 import node_pb2, problem_pb2
from arwctl.exit_codes import ExitCode
from tests.fakes.operator_api import OperatorApi
from tests.unit.arwctl.conftest import Arwctl

ALLOW = ("nodes", "allow-removals", "n1")
TEXT = "Holds back 2 removals: a/b, c."
REMEDY = "To stop them now: arwctl nodes allow-removals n1. To keep them, declare them again."


def holding(*instances: str) -> node_pb2.Node:
    problem = problem_pb2.Problem(reason=problem_pb2.REASON_REMOVAL_GUARD, text=TEXT, remedy=REMEDY)
    held = [
        node_pb2.HeldRemoval(instance=f"nodes/n1/instances/{instance}", spec_revision=number)
        for number, instance in enumerate(instances, 7)
    ]
    return node_pb2.Node(name="nodes/n1", state_label="Online", summary=TEXT, problems=[problem], held_removals=held)


@pytest.fixture
def context(api: OperatorApi, state: Path) -> tuple[str, Path]:
    """A control plane with one node that holds back two removals."""
    api.nodes = [holding("a__b", "c")]
    return "--context", state / "context.json"


async def test_a_node_shows_what_it_holds_back_and_the_command_that_lets_go(
    run: Arwctl, context: tuple[str, Path]
) -> None:
    said = await run("nodes", "show", "n1", *context)
    assert said.code == 0
    lines = said.out.splitlines()
    assert f"State:              Online - {TEXT}" in lines
    assert f"Problem:            {TEXT} {REMEDY}" in lines
    assert [line.split()[-1] for line in lines if line.startswith("Removal held back:")] == ["a/b", "c"]


async def test_held_removals_are_shown_and_exactly_those_are_allowed(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    said = await run(*ALLOW, "--yes", *context)
    assert (said.code, said.out.splitlines()) == (
        0,
        [
            "n1 holds back these removals; the runtimes run on:",
            "  a/b",
            "  c",
            "n1: told to stop a/b, c",
        ],
    )
    sent = api.calls[-1]
    assert sent.name == "nodes/n1"
    assert [(held.instance, held.spec_revision) for held in sent.removals] == [
        ("nodes/n1/instances/a__b", 7),
        ("nodes/n1/instances/c", 8),
    ]


async def test_nothing_is_allowed_where_nobody_can_be_asked(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    said = await run(*ALLOW, *context)
    assert said.code == ExitCode.FAILED
    assert "  a/b" in said.out.splitlines()
    assert "repeat with --yes" in said.err
    assert len(api.calls) == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_a_person_is_asked_first(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer, code, calls in (("n\n", 1, 1), ("\n", 1, 2), ("y\n", 0, 4)):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        said = await run(*ALLOW, *context)
        assert (said.code, len(api.calls)) == (code, calls)
        assert "Stop them all now?" in said.out


async def test_where_nothing_is_held_nothing_is_allowed(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    api.nodes = [node_pb2.Node(name="nodes/n1")]
    said = await run(*ALLOW, "--yes", *context)
    assert said.code == ExitCode.FAILED
    assert "error: n1 holds back no removal." in said.err
    assert len(api.calls) == 1
