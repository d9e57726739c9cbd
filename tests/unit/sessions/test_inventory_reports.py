"""A node may say as often as it likes what its machine is; it is taken in at a pace."""

from __future__ import annotations

from datetime import timedelta

from arw.v1 import node_pb2
from arw.v1 import session_pb2 as pb
from control_plane.domain.ids import NodeId
from control_plane.sessions.invitation import Terms
from control_plane.sessions.rejections import Rejections
from control_plane.sessions.rules import SessionRules
from control_plane.sessions.session import ServerSession
from control_plane.sessions.steps import Advertise, Close, Step
from control_plane.sessions.token_bucket import TokenBucket
from tests.fakes.clock import NOON

RULES = SessionRules()


class Node:
    """A welcomed one, whose machine gets more and more cores."""

    def __init__(self) -> None:
        self._session = ServerSession(Rejections(NodeId("n1")), RULES, NOON, lambda: timedelta(seconds=10))
        hello = pb.Hello(node="nodes/n1", process_id="p", installation_id="i", protocol_min=1, protocol_max=1)
        self._session.received(pb.AgentMessage(seq=1, hello=hello), NOON)
        self._session.admitted(7, Terms("history", (), 0), NOON)
        self._seq = 1
        self._cores = 0

    def advertises(self, at: timedelta = timedelta()) -> list[Step]:
        self._cores += 1
        inventory = node_pb2.NodeInventory(cpu_cores=self._cores)
        return self._say(at, inventory_report=pb.InventoryReport(inventory=inventory))

    def beats(self, at: timedelta) -> list[Step]:
        return self._say(at, heartbeat=pb.Heartbeat())

    def _say(self, at: timedelta, **body: object) -> list[Step]:
        self._seq += 1
        message = pb.AgentMessage(seq=self._seq, session_epoch=7, **body)  # type: ignore[arg-type]
        return self._session.received(message, NOON + at)


def cores(steps: list[Step]) -> list[int]:
    return [step.inventory.cpu_cores for step in steps if isinstance(step, Advertise)]


def test_a_few_at_once_are_taken_in_as_they_come() -> None:
    node = Node()
    assert [cores(node.advertises()) for _ in range(5)] == [[1], [2], [3], [4], [5]]


def test_too_many_wait_and_the_newest_is_taken_in_with_the_next_message_that_is_late_enough() -> None:
    node = Node()
    told = [cores(node.advertises()) for _ in range(50)]
    assert told[5:] == [[]] * 45
    assert cores(node.beats(timedelta(seconds=1))) == []
    assert cores(node.beats(timedelta(seconds=2))) == [50]
    assert cores(node.beats(timedelta(seconds=10))) == [], "it is said once"


def test_one_that_goes_on_for_long_is_taken_in_every_two_seconds_and_stays() -> None:
    node = Node()
    steps = [step for tenth in range(6000) for step in node.advertises(timedelta(seconds=tenth / 10))]
    assert not any(isinstance(step, Close) for step in steps)
    assert 300 <= len(cores(steps)) <= 306


def test_a_flood_ends_the_stream_and_the_node_may_come_back() -> None:
    node = Node()
    steps = [step for _ in range(RULES.inventory_flood + 1) for step in node.advertises()]
    (close,) = [step for step in steps if isinstance(step, Close)]
    assert close.refusal is not None
    assert (close.refusal.reason, close.retry_after) == ("RATE_LIMITED", RULES.retry_after)


def test_tokens_come_back_one_by_one_and_a_clock_that_is_set_back_gives_none() -> None:
    bucket = TokenBucket(2, timedelta(seconds=1), NOON)
    assert [bucket.take(NOON) for _ in range(3)] == [True, True, False]
    assert not bucket.take(NOON - timedelta(hours=1))
    assert bucket.take(NOON + timedelta(seconds=1)) is True
    assert [bucket.take(NOON + timedelta(hours=1)) for _ in range(3)] == [True, True, False]
