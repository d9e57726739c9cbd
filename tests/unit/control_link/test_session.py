from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from node_agent.control_link.actions import GiveUp, Leave, Opened, Park, Probe, ReadLogs, Regroup, Settled
from node_agent.control_link.messages import (
    ControlBody,
    ControlEnvelope,
    DesiredBatch,
    DrainNotice,
    Goodbye,
    Heartbeat,
    HeartbeatAck,
    LogRequest,
    ObservedReport,
    ParkConnections,
    ProbeInstance,
    Refused,
    Replica,
    ReplicasChanged,
    ReportFullState,
    Unknown,
    Welcome,
)
from node_agent.domain.status import BudgetView, Health, InstanceState, Problem
from tests.fakes.agent_bench import AgentBench, is_running, name_of, wanted

EXPIRED = Problem("CERTIFICATE_EXPIRED", "It expired.", "Join again.")


def opened(running: tuple[str, ...] = ("a",)) -> AgentBench:
    bench = AgentBench(running=running)
    bench.welcome()
    return bench


def leave_reason(bench: AgentBench) -> str:
    (leave,) = [action for action in bench.actions if isinstance(action, Leave)]
    return leave.why


def test_messages_are_numbered_from_one_and_carry_the_epoch_after_welcome() -> None:
    bench = opened()
    assert [envelope.seq for envelope in bench.sent] == [1, 2, 3]
    assert [envelope.session_epoch for envelope in bench.sent] == [0, 7, 7]


def test_nothing_but_hello_is_said_before_welcome() -> None:
    bench = AgentBench(running=("a",))
    bench.wait(5)
    assert len(bench.sent) == 1


def test_after_welcome_come_a_heartbeat_and_a_full_report() -> None:
    bench = opened(("a", "b"))
    assert [type(envelope.body) for envelope in bench.sent[1:]] == [Heartbeat, ObservedReport]
    (report,) = bench.reports
    assert (report.full, report.observed_seq) == (True, 1)
    assert [status.name for status in report.instances] == [name_of("a"), name_of("b")]
    assert any(isinstance(action, Opened) for action in bench.actions)


def test_nothing_is_reported_before_what_an_earlier_agent_left_was_looked_at() -> None:
    bench = AgentBench(adopted=False)
    bench.welcome()
    bench.wait(30)
    assert bench.reports == []
    bench.outbox.release([is_running("a")])
    bench.wait(1)
    bench.perform([])
    (report,) = bench.reports
    assert (report.full, [status.name for status in report.instances]) == (True, [name_of("a")])


@pytest.mark.parametrize(
    "body", [DesiredBatch(1, 0, 3), HeartbeatAck(1), ReportFullState(), Unknown()], ids=lambda body: type(body).__name__
)
def test_whoever_speaks_before_welcome_is_left(body: ControlBody) -> None:
    bench = AgentBench()
    bench.hear(body, epoch=0)
    assert "before it said welcome" in leave_reason(bench)


def test_a_control_plane_that_never_says_welcome_is_left() -> None:
    bench = AgentBench()
    bench.wait(9.9)
    assert not bench.ended
    bench.wait(0.2)
    assert bench.ended


def test_a_stale_epoch_is_refused() -> None:
    bench = opened()
    bench.hear(DesiredBatch(1, 0, 3, snapshot=True, resources=(wanted("a", 3),)), epoch=6)
    assert "session 6" in leave_reason(bench)
    assert not bench.disk.specs


def test_a_lost_message_ends_the_stream() -> None:
    bench = opened()
    bench.hear_envelope(ControlEnvelope(3, 7, HeartbeatAck(2)))
    assert bench.ended


def test_a_second_welcome_ends_the_stream() -> None:
    bench = opened()
    bench.welcome()
    assert "twice" in leave_reason(bench)


def test_the_first_answer_to_a_heartbeat_settles_the_connection_once() -> None:
    bench = opened()
    bench.answer()
    bench.wait(10)
    bench.answer()
    assert len([action for action in bench.actions if isinstance(action, Settled)]) == 1


def test_heartbeats_come_once_a_period() -> None:
    bench = opened()
    bench.answer()
    for _ in range(6):
        bench.wait(10)
        bench.answer()
    assert len(bench.said(Heartbeat)) == 7
    assert not bench.ended


def test_heartbeats_unanswered_for_two_periods_end_the_stream() -> None:
    bench = opened()
    bench.answer()
    bench.wait(9)
    bench.answers = False
    bench.wait(20)
    assert not bench.ended
    bench.wait(1.5)
    assert "unanswered" in leave_reason(bench)


def test_an_invented_answer_does_not_count() -> None:
    bench = opened()
    bench.answers = False
    bench.hear(HeartbeatAck(99))
    bench.wait(20.5)
    assert bench.ended


def test_the_period_follows_the_control_plane() -> None:
    bench = opened()
    bench.answers = False
    bench.hear(HeartbeatAck(2, timedelta(seconds=60)))
    bench.wait(10)
    assert len(bench.said(Heartbeat)) == 2
    bench.wait(59)
    assert len(bench.said(Heartbeat)) == 2
    bench.wait(2)
    assert len(bench.said(Heartbeat)) == 3


def test_a_heartbeat_tells_how_late_the_agent_is() -> None:
    bench = opened()
    bench.answer()
    bench.now += 13.5
    bench.perform(bench.session.tick(bench.now))
    beat = bench.said(Heartbeat)[-1]
    assert isinstance(beat, Heartbeat)
    assert beat.self_lateness == timedelta(seconds=3.5)


def test_a_change_is_reported_at_once_and_those_that_follow_it_together() -> None:
    bench = opened(("a", "b"))
    bench.wait(1)
    bench.session.status_changed(replace(is_running("a"), state=InstanceState.DEGRADED), bench.now)
    bench.wait(0)
    assert [status.state for status in bench.reports[1].instances] == [InstanceState.DEGRADED]
    for state in (InstanceState.RESTARTING, InstanceState.STARTING):
        bench.session.status_changed(replace(is_running("a"), state=state), bench.now)
    bench.session.instance_gone(name_of("b"), bench.now)
    bench.wait(0.04)
    assert len(bench.reports) == 2
    bench.wait(0.02)
    report = bench.reports[2]
    assert (report.observed_seq, report.full, report.gone) == (3, False, (name_of("b"),))
    assert [status.state for status in report.instances] == [InstanceState.STARTING]


def test_an_unchanged_status_is_no_news() -> None:
    bench = opened()
    health = Health(timedelta(milliseconds=3), 0, 0, 4)
    budget = BudgetView(3, timedelta(seconds=600), 1, timedelta(seconds=500))
    bench.session.status_changed(replace(is_running("a"), health=health, budget=budget), bench.now)
    bench.wait(1)
    for latency in range(5):
        moved = replace(health, probe_latency=timedelta(milliseconds=latency))
        older = replace(budget, reset_in=timedelta(seconds=499 - latency))
        bench.session.status_changed(replace(is_running("a"), health=moved, budget=older), bench.now)
    bench.session.instance_gone(name_of("never"), bench.now)
    bench.wait(1)
    assert len(bench.reports) == 2


def test_a_full_report_is_made_on_request() -> None:
    bench = opened()
    bench.hear(ReportFullState("a report is missing"))
    bench.wait(0.3)
    assert [report.full for report in bench.reports] == [True, True]
    assert [report.observed_seq for report in bench.reports] == [1, 2]


def test_a_new_stream_begins_with_a_full_report_and_the_next_number() -> None:
    bench = opened()
    bench.dial()
    bench.welcome(epoch=8)
    assert [(report.full, report.observed_seq) for report in bench.reports] == [(True, 2)]


def test_a_refusal_with_a_delay_is_tried_again_then() -> None:
    bench = AgentBench()
    bench.hear(Refused(Problem("RATE_LIMITED", "Too fast.", ""), timedelta(seconds=5)), epoch=0)
    assert bench.actions == [Leave("Too fast.", timedelta(seconds=5))]


@pytest.mark.parametrize("reason", ["DRAINING", "STORAGE_UNAVAILABLE", "UNAVAILABLE"])
def test_a_replica_that_cannot_go_on_is_told_from_a_refusal_of_this_node(reason: str) -> None:
    bench = AgentBench()
    bench.hear(Refused(Problem(reason, "It stops.", ""), timedelta(seconds=5)), epoch=0)
    assert bench.actions == [Leave("It stops.", timedelta(seconds=5), replica_out=True)]


def test_a_refusal_without_a_delay_needs_a_person() -> None:
    bench = opened()
    bench.hear(Refused(EXPIRED))
    assert bench.actions[-1] == GiveUp(EXPIRED)


def test_a_drain_notice_is_followed_within_its_time() -> None:
    bench = opened()
    bench.answer()
    bench.hear(DrainNotice(timedelta(seconds=8)))
    assert bench.session.draining
    bench.wait(3.9)
    assert not bench.ended
    bench.wait(0.2)
    (leave,) = [action for action in bench.actions if isinstance(action, Leave)]
    assert leave.reconnect_after == timedelta()


def test_goodbye_comes_last_and_takes_unsent_news_along() -> None:
    bench = opened()
    bench.session.status_changed(replace(is_running("a"), state=InstanceState.DEGRADED), bench.now)
    bench.session.say_goodbye(Goodbye())
    bench.perform([])
    assert [type(envelope.body) for envelope in bench.sent[-2:]] == [ObservedReport, Goodbye]


def test_requests_for_logs_connections_and_probes_are_passed_on() -> None:
    bench = opened()
    request, asked = LogRequest("s1", name_of("a"), 100, follow=True), ProbeInstance("j1", name_of("a"))
    bench.hear(request)
    bench.hear(ParkConnections(12))
    bench.hear(asked)
    bench.hear(Unknown())
    assert bench.actions[-3:] == [ReadLogs(request), Park(12), Probe(asked)]
    assert not bench.ended


def test_two_idle_peers_exchange_little_in_ten_minutes() -> None:
    """The control plane sends a bookmark a minute and answers heartbeats; the agent says nothing of itself."""
    bench = opened(tuple("abcde"))
    bench.batch(1, 1, snapshot=True)
    for minute in range(10):
        for quarter in range(4):
            bench.wait(15)
            latency = timedelta(milliseconds=minute + quarter)
            bench.session.status_changed(replace(is_running("a"), health=Health(latency, 0, 0, 4)), bench.now)
        bench.batch(minute + 2, minute + 1)
    assert not bench.ended
    assert 55 <= len(bench.said(Heartbeat)) <= 70
    assert bench.heard + len(bench.sent) <= 200


def test_replicas_that_come_and_go_leave_the_stream_as_it_is() -> None:
    bench = opened()
    changed = ReplicasChanged((Replica("a:1", "a:2"), Replica("b:1", "b:2")), 3)
    bench.hear(changed)
    bench.hear(ParkConnections(6, "b:2"))
    assert bench.actions[-2:] == [Regroup(changed), Park(6, "b:2")]
    assert not bench.ended


def test_a_welcome_of_the_control_plane_is_passed_on_whole() -> None:
    bench = AgentBench()
    welcome = Welcome(9, "history-1", timedelta(seconds=10), parked_connections=4)
    bench.hear(welcome, epoch=9)
    assert bench.actions[0] == Opened(welcome)
