from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from arw.v1 import instance_pb2, node_pb2, problem_pb2
from arw.v1 import session_pb2 as pb
from control_plane.domain.errors import CertificateRevoked
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.node import HeldRemoval
from control_plane.domain.replica import Place
from control_plane.sessions.desired_feed import DesiredPage
from control_plane.sessions.invitation import Terms
from control_plane.sessions.rejections import Rejections
from control_plane.sessions.rules import MAX_REPORTED, SessionRules
from control_plane.sessions.session import ServerSession, refusal_message
from control_plane.sessions.steps import (
    Admit,
    Close,
    Contact,
    Load,
    Note,
    Observe,
    Reject,
    Say,
    Step,
    Trouble,
    Withdraw,
)
from tests.fakes.clock import NOON
from tests.fakes.desired_rows import row

HERE = Place("127.0.0.1:7443", "127.0.0.1:7445", "/run/relay.sock", machine_id_hash="m1")
THERE = Place("10.0.0.2:7443", "10.0.0.2:7445", "/run/relay.sock", machine_id_hash="m2")
TERMS = Terms("history", (HERE, THERE), 2)
PERIOD = timedelta(seconds=10)


def session(rejections: Rejections | None = None) -> ServerSession:
    return ServerSession(rejections or Rejections(NodeId("n1")), SessionRules(), NOON, lambda: PERIOD)


def hello(**changes: Any) -> pb.AgentMessage:
    said: dict[str, Any] = {
        "node": "nodes/n1",
        "process_id": "p",
        "installation_id": "i",
        "protocol_min": 1,
        "protocol_max": 1,
        "capabilities": ["desired.delta/1", "from.the.future/9"],
    }
    return pb.AgentMessage(seq=1, hello=pb.Hello(**{**said, **changes}))


def opened(rejections: Rejections | None = None) -> ServerSession:
    made = session(rejections)
    made.received(hello(), NOON)
    made.admitted(7, TERMS, NOON)
    made.loaded(DesiredPage("history", 1, 0, (), ()), NOON)
    return made


class Talk:
    """Numbers what the node says."""

    def __init__(self) -> None:
        self.rejections = Rejections(NodeId("n1"))
        self.session = opened(self.rejections)
        self.seq = 1
        self.say(desired_ack=pb.DesiredAck(nonce=1))

    def reconnected(self, *pages: DesiredPage) -> list[Step]:
        """The node's next stream, on which it has said nothing yet; what follows from these reads."""
        self.session, self.seq = session(self.rejections), 1
        self.session.received(hello(history_id="history", desired_revision=1), NOON)
        self.session.admitted(7, TERMS, NOON)
        return [step for page in pages for step in self.session.loaded(page, NOON)]

    def say(self, at: timedelta = timedelta(), **body: Any) -> list[Step]:
        self.seq += 1
        return self.session.received(pb.AgentMessage(seq=self.seq, session_epoch=7, **body), NOON + at)


def said(steps: list[Step]) -> list[str]:
    return [step.message.WhichOneof("body") or "" for step in steps if isinstance(step, Say)]


def reason(steps: list[Step]) -> str:
    (close,) = [step for step in steps if isinstance(step, Close)]
    assert close.refusal is not None
    return close.refusal.reason


def test_hello_asks_for_admission_and_nothing_else() -> None:
    (step,) = session().received(hello(), NOON)
    assert isinstance(step, Admit)
    assert step.hello.process_id == "p"


def test_welcome_names_the_epoch_and_only_shared_capabilities() -> None:
    made = session()
    made.received(hello(), NOON)
    steps = made.admitted(7, TERMS, NOON)
    (say, load) = steps
    assert isinstance(say, Say)
    assert isinstance(load, Load)
    welcome = say.message.welcome
    assert (welcome.session_epoch, welcome.history_id, welcome.protocol) == (7, "history", 1)
    assert list(welcome.capabilities) == ["desired.delta/1"]
    assert welcome.heartbeat_period.ToTimedelta() == PERIOD


def test_welcome_names_every_replica_and_a_socket_only_on_the_machine_that_has_it() -> None:
    made = session()
    made.received(hello(machine_id_hash="m2"), NOON)
    say = made.admitted(7, TERMS, NOON)[0]
    assert isinstance(say, Say)
    told = [(each.grpc_address, each.relay_address, each.relay_unix_path) for each in say.message.welcome.replicas]
    assert told == [
        ("127.0.0.1:7443", "127.0.0.1:7445", ""),
        ("10.0.0.2:7443", "10.0.0.2:7445", "/run/relay.sock"),
    ]


def test_an_agent_that_understands_it_hears_of_replicas_that_come_and_go() -> None:
    made = session()
    made.received(hello(capabilities=["replicas.many/1"], machine_id_hash="m1"), NOON)
    assert made.replicas_changed((HERE, THERE), 3) == []
    made.admitted(7, TERMS, NOON)
    (say,) = made.replicas_changed((HERE, THERE), 3)
    assert isinstance(say, Say)
    told = say.message.replicas_changed
    assert [each.relay_unix_path for each in told.replicas] == ["/run/relay.sock", ""]
    assert told.parked_connections == 3


def test_an_older_agent_hears_of_replicas_with_its_next_welcome_only() -> None:
    assert opened().replicas_changed((HERE, THERE), 2) == []


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (pb.AgentMessage(seq=1, heartbeat=pb.Heartbeat()), "PROTOCOL_VIOLATION"),
        (pb.AgentMessage(seq=1), "PROTOCOL_VIOLATION"),
        (hello(node="nodes/n2"), "NODE_MISMATCH"),
        (hello(node="n1"), "NODE_MISMATCH"),
        (hello(process_id=""), "PROTOCOL_VIOLATION"),
        (hello(boot_id="x" * 1000), "PROTOCOL_VIOLATION"),
        (hello(protocol_min=2, protocol_max=3), "PROTOCOL_UNSUPPORTED"),
        (hello(protocol_min=0, protocol_max=0), "PROTOCOL_UNSUPPORTED"),
        (pb.AgentMessage(seq=2, hello=hello().hello), "PROTOCOL_VIOLATION"),
        (pb.AgentMessage(seq=1, session_epoch=3, hello=hello().hello), "PROTOCOL_VIOLATION"),
    ],
)
def test_a_bad_first_message_is_refused_with_its_reason(first: pb.AgentMessage, expected: str) -> None:
    assert reason(session().received(first, NOON)) == expected


def test_a_stream_without_hello_ends_after_five_seconds() -> None:
    made = session()
    assert made.tick(NOON + timedelta(seconds=4.9)) == []
    assert reason(made.tick(NOON + timedelta(seconds=5))) == "PROTOCOL_VIOLATION"


def test_hello_comes_only_once() -> None:
    again = pb.AgentMessage(seq=2, session_epoch=7, hello=hello().hello)
    assert reason(opened().received(again, NOON)) == "PROTOCOL_VIOLATION"


@pytest.mark.parametrize(("seq", "epoch"), [(3, 7), (1, 7), (2, 6), (2, 8), (2, 0)])
def test_a_wrong_number_or_epoch_ends_the_stream(seq: int, epoch: int) -> None:
    message = pb.AgentMessage(seq=seq, session_epoch=epoch, heartbeat=pb.Heartbeat())
    assert reason(opened().received(message, NOON)) == "PROTOCOL_VIOLATION"


def test_nothing_follows_a_close() -> None:
    talk = Talk()
    talk.session.refuse(CertificateRevoked("Revoked."))
    assert talk.say(heartbeat=pb.Heartbeat()) == []
    assert talk.session.tick(NOON + timedelta(hours=1)) == []
    assert talk.session.changed() == []
    assert talk.session.refuse(CertificateRevoked("Again.")) == []


def test_a_refusal_that_only_a_person_can_undo_names_no_retry() -> None:
    (close,) = opened().refuse(CertificateRevoked("Revoked.", "Join again."))
    assert isinstance(close, Close)
    message = refusal_message(close)
    assert message is not None
    assert message.refusal.problem.reason == problem_pb2.REASON_CERTIFICATE_REVOKED
    assert message.refusal.problem.remedy == "Join again."
    assert not message.refusal.HasField("retry_after")


def test_a_heartbeat_is_answered_with_its_number() -> None:
    contact, say = Talk().say(heartbeat=pb.Heartbeat(desired_revision=5))
    assert contact == Contact(5)
    assert isinstance(say, Say)
    assert say.message.heartbeat_ack.heartbeat_seq == 3


def test_a_body_from_a_newer_agent_is_ignored_but_counted() -> None:
    talk = Talk()
    assert talk.say() == []
    assert said(talk.say(heartbeat=pb.Heartbeat())) == ["heartbeat_ack"]


def test_changes_during_a_read_cause_one_more_read() -> None:
    talk = Talk()
    assert talk.session.changed() == [Load()]
    assert talk.session.changed() == []
    assert talk.session.changed() == []
    steps = talk.session.loaded(DesiredPage("history", 2, 0, (row("a", 2),), None), NOON)
    assert said(steps) == ["desired_batch"]
    assert steps[-1] == Load()


def test_an_unacknowledged_batch_ends_the_stream_with_a_retry() -> None:
    made = opened()
    assert said(made.tick(NOON + timedelta(seconds=29))) == ["report_full_state"]
    (close,) = made.tick(NOON + timedelta(seconds=30))
    assert isinstance(close, Close)
    assert close.retry_after == timedelta(seconds=5)


def test_a_session_rests_until_its_next_bookmark_unless_something_is_open() -> None:
    made = opened()
    made.received(pb.AgentMessage(seq=2, session_epoch=7, desired_ack=pb.DesiredAck(nonce=1)), NOON)
    assert made.rests_until() is None, "the first full report is awaited"
    everything = pb.ObservedReport(observed_seq=1, full=True)
    made.received(pb.AgentMessage(seq=3, session_epoch=7, observed_report=everything), NOON)
    assert made.rests_until() == NOON + timedelta(seconds=60)
    assert [type(step) for step in made.tick(NOON + timedelta(seconds=60))] == [Load]
    made.loaded(DesiredPage("history", 1, 0, (), ()), NOON + timedelta(seconds=60))
    assert made.rests_until() is None, "the bookmark is unacknowledged"


@pytest.mark.parametrize("made", [session(), opened()])
def test_a_session_that_is_new_or_has_a_batch_out_never_rests(made: ServerSession) -> None:
    assert made.rests_until() is None


def refusing(generation: int = 1) -> pb.DesiredAck:
    problem = problem_pb2.Problem(reason=problem_pb2.REASON_MODEL_FILE_MISSING, text="No file.")
    name = "nodes/n1/instances/a"
    return pb.DesiredAck(nonce=2, problems=[pb.ResourceProblem(name=name, generation=generation, problem=problem)])


def test_a_refused_spec_is_told_once_a_generation() -> None:
    talk = Talk()
    talk.session.changed()
    talk.session.loaded(DesiredPage("history", 2, 0, (row("a", 2),), None), NOON)
    first = [step for step in talk.say(desired_ack=refusing()) if isinstance(step, Reject)]
    again = [step for step in talk.say(desired_ack=refusing()) if isinstance(step, Reject)]
    assert [(step.runtime, step.generation, step.problem.reason) for step in first] == [("a", 1, "MODEL_FILE_MISSING")]
    assert again == []


def talk_with_refusal(generation: int = 1) -> Talk:
    """A node that reported in full and would not take "a"."""
    talk = Talk()
    talk.say(observed_report=report(1, full=True, name="nodes/n1/instances/b"))
    offered(talk, 2, generation)
    talk.say(desired_ack=refusing(generation))
    return talk


def offered(talk: Talk, revision: int, generation: int) -> None:
    talk.session.changed()
    page = DesiredPage("history", revision, 0, (row("a", revision, generation),), None)
    talk.session.loaded(page, NOON + timedelta(minutes=1))


def observed(talk: Talk, message: pb.ObservedReport) -> dict[str, tuple[str, str]]:
    (step,) = [step for step in talk.say(observed_report=message) if isinstance(step, Observe)]
    return {seen.runtime: (seen.state.value, seen.problem.reason if seen.problem else "") for seen in step.instances}


def test_a_refused_spec_stays_on_show_when_the_node_reports_everything_else() -> None:
    talk = talk_with_refusal()
    everything = observed(talk, report(2, full=True, name="nodes/n1/instances/b"))
    assert everything == {"b": ("ready", ""), "a": ("error", "MODEL_FILE_MISSING")}
    assert observed(talk, report(3, name="nodes/n1/instances/b")) == {"b": ("ready", "")}


def test_an_older_spec_that_serves_on_keeps_its_objection() -> None:
    assert observed(talk_with_refusal(), report(2)) == {"a": ("ready", "MODEL_FILE_MISSING")}


def test_a_refused_spec_stays_on_show_when_its_older_instance_goes() -> None:
    gone = pb.ObservedReport(observed_seq=2, gone=["nodes/n1/instances/a"])
    assert observed(talk_with_refusal(), gone) == {"a": ("error", "MODEL_FILE_MISSING")}


def test_an_admission_ends_the_objection() -> None:
    talk = talk_with_refusal()
    talk.say(desired_ack=pb.DesiredAck(nonce=2))
    assert observed(talk, report(2, full=True)) == {"a": ("ready", "")}


def test_a_later_generation_ends_the_objection() -> None:
    talk = talk_with_refusal()
    offered(talk, 3, 2)
    assert observed(talk, report(2, full=True)) == {"a": ("ready", "")}


def test_a_spec_that_is_refused_again_is_told_again() -> None:
    talk = talk_with_refusal()
    talk.say(desired_ack=pb.DesiredAck(nonce=2))
    assert [type(step) for step in talk.say(desired_ack=refusing()) if isinstance(step, Reject)] == [Reject]


A_IS_WANTED = DesiredPage("history", 2, 0, (row("a", 2),), (row("a", 2),))
EVERYTHING = {"b": ("ready", ""), "a": ("error", "MODEL_FILE_MISSING")}


def withdrawn(steps: list[Step]) -> list[str]:
    return [runtime for step in steps if isinstance(step, Withdraw) for runtime in step.runtimes]


@pytest.mark.parametrize("pages", [(), (A_IS_WANTED,)])
def test_a_refused_spec_stays_on_show_when_the_next_stream_reports_before_it_answers(
    pages: tuple[DesiredPage, ...],
) -> None:
    talk = talk_with_refusal()
    assert withdrawn(talk.reconnected(*pages)) == []
    assert observed(talk, report(1, full=True, name="nodes/n1/instances/b")) == EVERYTHING
    talk.session.loaded(A_IS_WANTED, NOON)
    problems = refusing().problems
    steps = talk.say(desired_ack=pb.DesiredAck(nonce=1, problems=problems))
    assert not [step for step in steps if isinstance(step, Reject | Withdraw)]
    assert observed(talk, report(2, full=True, name="nodes/n1/instances/b")) == EVERYTHING


def test_a_spec_that_the_node_takes_on_the_next_stream_is_refused_no_more() -> None:
    talk = talk_with_refusal()
    talk.reconnected(A_IS_WANTED)
    observed(talk, report(1, full=True, name="nodes/n1/instances/b"))
    assert withdrawn(talk.say(desired_ack=pb.DesiredAck(nonce=1))) == ["a"]
    assert observed(talk, report(2, full=True, name="nodes/n1/instances/b")) == {"b": ("ready", "")}


def test_a_node_that_reports_the_refused_generation_has_taken_it() -> None:
    talk = talk_with_refusal()
    talk.reconnected(A_IS_WANTED)
    taken = report(1, full=True)
    taken.instances[0].observed_generation = 1
    assert observed(talk, taken) == {"a": ("ready", "")}


def test_an_older_spec_that_serves_on_keeps_its_objection_on_the_next_stream() -> None:
    talk = talk_with_refusal()
    talk.reconnected(A_IS_WANTED)
    assert observed(talk, report(1, full=True)) == {"a": ("ready", "MODEL_FILE_MISSING")}


def test_what_was_removed_while_the_node_was_away_is_refused_no_more() -> None:
    talk = talk_with_refusal()
    assert withdrawn(talk.reconnected(DesiredPage("history", 3, 0, (row("a", 3, gone=True),), ()))) == ["a"]


def test_a_refused_spec_that_is_removed_is_withdrawn_at_once() -> None:
    talk = talk_with_refusal()
    talk.session.changed()
    steps = talk.session.loaded(DesiredPage("history", 3, 0, (row("a", 3, gone=True),), None), NOON)
    assert withdrawn(steps) == ["a"]


def guarded(*runtimes: str) -> list[pb.ResourceProblem]:
    problem = problem_pb2.Problem(reason=problem_pb2.REASON_REMOVAL_GUARD, text="Too many.", remedy="Declare it.")
    return [
        pb.ResourceProblem(name=f"nodes/n1/instances/{runtime}", problem=problem, spec_revision=4)
        for runtime in runtimes
    ]


def told(steps: list[Step]) -> list[list[str]]:
    return [[problem.text for problem in step.problems] for step in steps if isinstance(step, Trouble)]


def test_removals_that_are_held_back_are_one_trouble_of_the_node_until_it_lets_go() -> None:
    talk = Talk()
    held = pb.DesiredAck(nonce=1, problems=guarded(*"jihgfedcba"))
    steps = talk.say(desired_ack=held)
    assert told(steps) == [["Holds back 10 removals: a, b, c, d, e, f, g, h and 2 more."]]
    (trouble,) = [step for step in steps if isinstance(step, Trouble)]
    assert trouble.held == tuple(HeldRemoval(RuntimeId(runtime), 4) for runtime in "abcdefghij")
    assert "arwctl nodes allow-removals n1" in trouble.problems[0].remedy
    assert told(talk.say(desired_ack=held)) == []
    assert told(talk.say(desired_ack=pb.DesiredAck(nonce=1, problems=guarded("a")))) == [["Holds back 1 removal: a."]]
    assert told(talk.say(desired_ack=pb.DesiredAck(nonce=1))) == [[]]


def test_the_next_batch_says_once_which_removals_an_operator_lets_through() -> None:
    talk = Talk()
    (say,) = talk.session.allow([HeldRemoval(RuntimeId("a/b"), 4)], NOON)
    assert isinstance(say, Say)
    allowed = say.message.desired_batch.allowed_removals
    assert list(allowed) == [node_pb2.HeldRemoval(instance="nodes/n1/instances/a__b", spec_revision=4)]
    talk.session.changed()
    (later, *_) = talk.session.loaded(DesiredPage("history", 2, 0, (row("a", 2),), None), NOON)
    assert isinstance(later, Say)
    assert not later.message.desired_batch.allowed_removals
    assert session().allow([HeldRemoval(RuntimeId("a"), 4)], NOON) == []


@pytest.mark.parametrize("reason", ["HISTORY_CHANGED", "STORAGE_UNAVAILABLE", "STALE_REVISION"])
def test_what_makes_a_node_refuse_everything_is_its_trouble(reason: str) -> None:
    problem = problem_pb2.Problem(reason=problem_pb2.Reason.Value(f"REASON_{reason}"), text="So it is.")
    ack = pb.DesiredAck(nonce=1, problems=[pb.ResourceProblem(problem=problem)])
    steps = Talk().say(desired_ack=ack)
    assert told(steps) == [["So it is."]]
    assert not [step for step in steps if isinstance(step, Note)]


def test_a_problem_with_something_else_is_only_noted() -> None:
    talk = Talk()
    steps = talk.say(desired_ack=pb.DesiredAck(nonce=1, problems=refusing().problems))
    assert [type(step) for step in steps] == [Contact, Note]


def test_a_digest_that_differs_is_noted() -> None:
    talk = Talk()
    talk.session.changed()
    talk.session.loaded(DesiredPage("history", 2, 0, (row("a", 2),), None), NOON)
    steps = talk.say(desired_ack=pb.DesiredAck(nonce=2, desired_digest=b"other"))
    assert [step.event for step in steps if isinstance(step, Note)] == ["desired_digest_mismatch"]


def report(seq: int, *, full: bool = False, name: str = "nodes/n1/instances/a") -> pb.ObservedReport:
    instance = instance_pb2.Instance(name=name, state=instance_pb2.INSTANCE_STATE_READY)
    return pb.ObservedReport(observed_seq=seq, full=full, instances=[instance])


def test_reports_in_order_are_taken_in_and_a_gap_asks_for_everything() -> None:
    talk = Talk()
    (full,) = talk.say(observed_report=report(4, full=True))
    (next_one,) = talk.say(observed_report=report(5))
    gap = talk.say(timedelta(seconds=20), observed_report=report(7))
    assert isinstance(full, Observe)
    assert full.full
    assert isinstance(next_one, Observe)
    assert said(gap) == ["report_full_state"]


def test_everything_is_asked_for_at_most_once_in_ten_seconds() -> None:
    talk = Talk()
    talk.say(observed_report=report(1, full=True))
    asked = [
        said(talk.say(timedelta(seconds=20 + second), observed_report=report(9 + 2 * second))) for second in range(12)
    ]
    assert [second for second, kinds in enumerate(asked) if kinds] == [0, 10]


def test_a_node_that_never_reports_is_asked_by_the_clock() -> None:
    talk = Talk()
    assert said(talk.session.tick(NOON + timedelta(seconds=9))) == []
    assert said(talk.session.tick(NOON + timedelta(seconds=10))) == ["report_full_state"]


def test_a_heartbeat_that_counts_more_reports_asks_for_everything() -> None:
    talk = Talk()
    talk.say(observed_report=report(1, full=True))
    steps = talk.say(timedelta(seconds=20), heartbeat=pb.Heartbeat(observed_seq=3))
    assert said(steps) == ["heartbeat_ack", "report_full_state"]


@pytest.mark.parametrize("name", ["nodes/n2/instances/a", "nodes/n2/instances/../n1"])
def test_a_report_of_another_nodes_instance_ends_the_stream(name: str) -> None:
    assert reason(Talk().say(observed_report=report(1, full=True, name=name))) in ("NODE_MISMATCH", "INVALID_ID")


def test_names_of_another_node_are_no_more_welcome_when_gone() -> None:
    gone = pb.ObservedReport(observed_seq=1, full=True, gone=["nodes/n2/instances/a"])
    assert reason(Talk().say(observed_report=gone)) == "NODE_MISMATCH"


def test_a_message_with_too_many_resources_is_refused() -> None:
    many = pb.ObservedReport(observed_seq=1, full=True, gone=["nodes/n1/instances/r"] * (MAX_REPORTED + 1))
    assert reason(Talk().say(observed_report=many)) == "PROTOCOL_VIOLATION"


def test_an_unknown_state_reads_unknown_and_never_as_a_default() -> None:
    instance = instance_pb2.Instance(name="nodes/n1/instances/a", state=99, severity=99)  # type: ignore[arg-type]
    (step,) = Talk().say(observed_report=pb.ObservedReport(observed_seq=1, full=True, instances=[instance]))
    assert isinstance(step, Observe)
    assert step.instances[0].state == "unknown"


@pytest.mark.parametrize(("kind", "for_good"), [(pb.GOODBYE_KIND_RESTART, False), (pb.GOODBYE_KIND_SHUTDOWN, True)])
def test_a_goodbye_ends_the_stream_in_good_order(kind: pb.GoodbyeKind.ValueType, for_good: bool) -> None:
    assert Talk().say(goodbye=pb.Goodbye(kind=kind)) == [Close(None, for_good=for_good)]


def test_two_idle_peers_exchange_little_in_ten_minutes() -> None:
    talk, sent = Talk(), 0
    talk.say(observed_report=report(1, full=True))
    for second in range(1, 601):
        at = timedelta(seconds=second)
        steps = talk.session.tick(NOON + at)
        if second % 10 == 0:
            steps += talk.say(at, heartbeat=pb.Heartbeat(observed_seq=1))
            sent += 1
        if Load() in steps:
            steps += talk.session.loaded(DesiredPage("history", 1 + second, 0, (), None), NOON + at)
        for step in steps:
            if isinstance(step, Say) and step.message.HasField("desired_batch"):
                talk.say(at, desired_ack=pb.DesiredAck(nonce=step.message.desired_batch.nonce))
                sent += 1
        sent += len(said(steps))
    assert 120 <= sent <= 150
