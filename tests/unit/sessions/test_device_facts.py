from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from arw.v1 import node_pb2
from arw.v1 import session_pb2 as pb
from control_plane.domain.ids import NodeId
from control_plane.messages.nodes import inventory_from_proto
from control_plane.messages.usage import node_usage_from_proto
from control_plane.sessions.fleet import FleetRules, FleetState
from control_plane.sessions.invitation import Terms
from control_plane.sessions.rejections import Rejections
from control_plane.sessions.rules import SessionRules
from control_plane.sessions.session import ServerSession
from control_plane.sessions.steps import Advertise, Contact, Measure, Step
from tests.fakes.clock import NOON, FakeClock
from tests.fakes.device_usage import USAGE

N1 = NodeId("n1")
TWO_GPUS = node_pb2.NodeInventory(os="linux", cpu_cores=2)


def heard(**body: Any) -> list[Step]:
    """What follows from one message of a welcomed node."""
    session = ServerSession(Rejections(N1), SessionRules(), NOON, lambda: timedelta(seconds=10))
    hello = pb.Hello(node="nodes/n1", process_id="p", installation_id="i", protocol_min=1, protocol_max=1)
    session.received(pb.AgentMessage(seq=1, hello=hello), NOON)
    session.admitted(7, Terms("history", (), 0), NOON)
    return session.received(pb.AgentMessage(seq=2, session_epoch=7, **body), NOON)


def test_a_heartbeat_may_tell_what_the_devices_do() -> None:
    steps = heard(heartbeat=pb.Heartbeat(desired_revision=5, usage=USAGE))
    assert [step for step in steps if isinstance(step, (Contact, Measure))] == [
        Contact(5),
        Measure(node_usage_from_proto(USAGE, NOON)),
    ]


def test_a_heartbeat_without_usage_measures_nothing() -> None:
    assert not any(isinstance(step, Measure) for step in heard(heartbeat=pb.Heartbeat()))


def test_a_machine_that_changed_is_advertised() -> None:
    steps = heard(inventory_report=pb.InventoryReport(inventory=TWO_GPUS))
    assert steps == [Advertise(inventory_from_proto(TWO_GPUS))]


def test_usage_is_known_while_its_session_lives_and_while_it_is_fresh() -> None:
    clock = FakeClock()
    fleet = FleetState(clock, FleetRules())
    fleet.connected(N1, 1, 0)
    usage = node_usage_from_proto(USAGE, clock.now())
    fleet.measured(N1, 2, usage)
    assert fleet.liveness(N1).usage is None
    fleet.measured(N1, 1, usage)
    assert fleet.liveness(N1).usage == usage
    clock.advance(timedelta(seconds=31))
    fleet.heard(N1, 1)
    assert fleet.liveness(N1).usage is None
    fleet.measured(N1, 1, replace(usage, update_time=clock.now()))
    assert fleet.liveness(N1).usage is not None
    fleet.disconnected(N1, 1, for_good=True)
    assert fleet.liveness(N1).usage is None
