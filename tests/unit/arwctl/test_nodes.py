from __future__ import annotations

import io
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

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


def draining(*remainders: node_pb2.Remainder, deadline: int = 0) -> node_pb2.Node:
    drain = node_pb2.Drain(start_time=Timestamp(seconds=1), deadline=Timestamp(seconds=deadline) if deadline else None)
    return node_pb2.Node(
        name="nodes/n1", state_label="Online", schedulable=True, summary="Connected", drain=drain, remainders=remainders
    )


STUCK = node_pb2.Remainder(
    runtime="runtimes/a__b",
    placed=True,
    state_label="Ready",
    problem=problem_pb2.Problem(text="It is to leave node n1, and fits nowhere else.", remedy="Join another node."),
)
ENDING = node_pb2.Remainder(runtime="runtimes/c", state_label="Stopping")


async def test_a_drain_is_asked_for_with_its_time(run: Arwctl, context: tuple[str, Path], api: OperatorApi) -> None:
    api.nodes = [draining()]
    said = await run("nodes", "drain", "n1", "--within", "15m", *context)
    assert (said.code, said.out) == (0, "n1: is being drained (Online)\n")
    assert (api.calls[-1].name, api.calls[-1].within.seconds) == ("nodes/n1", 900)
    await run("nodes", "drain", "n1", *context)
    assert not api.calls[-1].HasField("within")


async def test_a_drained_node_shows_what_has_not_left_and_why(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    api.nodes = [draining(STUCK, ENDING, deadline=61)]
    lines = (await run("nodes", "show", "n1", *context)).out.splitlines()
    assert "Takes new runtimes: no (drained)" in lines
    drained = next(line for line in lines if line.startswith("Drained:"))
    assert "what fits nowhere else stops at" in drained
    assert "Not left yet:       a/b: Ready. It is to leave node n1, and fits nowhere else. Join another node." in lines
    assert "                    c: Stopping, ends here" in lines
    assert ", drained" in (await run("nodes", "list", *context)).out


async def test_waiting_ends_when_nothing_is_left(run: Arwctl, context: tuple[str, Path], api: OperatorApi) -> None:
    api.nodes = [draining()]
    said = await run("nodes", "drain", "n1", "--wait", *context)
    assert said.out.splitlines()[-1] == "n1: nothing is left there"


async def test_waiting_says_what_is_left_and_gives_up_in_time(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    api.nodes = [draining(STUCK, ENDING)]
    said = await run("nodes", "drain", "n1", "--wait", "--timeout", "1s", *context)
    assert said.code == ExitCode.FAILED
    assert said.err.count("c: Stopping, ends here") == 1
    assert "not left yet: a/b, c." in said.err
    assert "arwctl nodes show n1" in said.err


async def test_waiting_ends_with_an_error_when_somebody_resumes_the_node(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    api.nodes = [node_pb2.Node(name="nodes/n1")]
    said = await run("nodes", "drain", "n1", "--wait", *context)
    assert said.code == ExitCode.FAILED
    assert "somebody resumed it" in said.err


async def test_a_resumed_node_says_whether_it_takes_runtimes(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    api.nodes = [node_pb2.Node(name="nodes/n1", state_label="Online", schedulable=True)]
    assert (await run("nodes", "resume", "n1", *context)).out == "n1: takes runtimes (Online)\n"
    api.nodes = [node_pb2.Node(name="nodes/n1", state_label="Online")]
    assert (await run("nodes", "resume", "n1", *context)).out == "n1: drained no longer, cordoned (Online)\n"


async def test_overcommitting_is_named_in_the_mask_and_nothing_else_is_by_default(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    api.nodes = [node_pb2.Node(name="nodes/n1", schedulable=True)]
    await run("nodes", "update", "n1", "--overcommit", *context)
    assert api.calls[-1].node.overcommit
    assert list(api.calls[-1].update_mask.paths) == ["labels", "schedulable", "overcommit"]
    await run("nodes", "update", "n1", "--cordon", *context)
    assert not api.calls[-1].update_mask.paths


async def test_placement_is_resumed_by_giving_the_silent_up(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    api.nodes = [node_pb2.Node(name="nodes/n1", given_up=True)]
    assert (await run("nodes", "resume-placement", *context)).out == "n1: given up until it is heard again\n"
    assert "until it is heard again" in (await run("nodes", "show", "n1", *context)).out
    api.nodes = []
    assert "Nothing is held" in (await run("nodes", "resume-placement", *context)).out
