"""When an engine that survives SIGKILL becomes the node's trouble."""

from __future__ import annotations

from dataclasses import dataclass

from arw.v1 import instance_pb2
from node_agent.control_link.convert_facts import status_to_proto
from node_agent.domain.spec import InstanceName
from node_agent.domain.status import InstanceState, InstanceStatus, Problem
from node_agent.runtimes.survivors import Survivors, unkillable
from tests.fakes.instance_specs import NAME

OTHER = InstanceName("nodes/n/instances/other")


@dataclass(slots=True)
class Minutes:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_it_is_the_nodes_trouble_after_a_minute_and_until_the_last_one_is_gone() -> None:
    clock = Minutes()
    survivors, told = Survivors(clock=clock), list[Problem | None]()
    survivors.on_change(lambda: told.append(survivors.problem()))
    assert not survivors.seen(NAME)
    clock.seconds = 59
    assert not survivors.seen(NAME)
    assert not survivors.seen(OTHER)
    clock.seconds = 60
    assert survivors.seen(NAME)
    assert survivors.seen(NAME)
    clock.seconds = 119
    assert survivors.seen(OTHER)
    assert [problem and problem.metadata["instance"] for problem in told] == [NAME, NAME]
    survivors.gone(NAME)
    assert [problem and problem.metadata["instance"] for problem in told] == [NAME, NAME, OTHER]
    survivors.gone(OTHER)
    assert told[-1] is None
    survivors.gone(OTHER)
    assert len(told) == 4


def test_one_that_ended_and_comes_again_has_its_minute_anew() -> None:
    clock = Minutes()
    survivors = Survivors(clock=clock)
    survivors.seen(NAME)
    survivors.gone(NAME)
    clock.seconds = 60
    assert not survivors.seen(NAME)
    assert survivors.problem() is None


def test_an_alarm_travels_as_an_error_and_nothing_else_does() -> None:
    quiet = InstanceStatus(NAME, InstanceState.STOPPING, problem=unkillable())
    loud = InstanceStatus(NAME, InstanceState.STOPPING, problem=unkillable(), alarm=True)
    assert [status_to_proto(status).severity for status in (quiet, loud)] == [
        instance_pb2.SEVERITY_UNSPECIFIED,
        instance_pb2.SEVERITY_ERROR,
    ]
