from __future__ import annotations

from arw.v1 import session_pb2 as pb
from control_plane.sessions.outbox import MOST, Outbox


def ack(seq: int) -> pb.ControlMessage:
    return pb.ControlMessage(heartbeat_ack=pb.HeartbeatAck(heartbeat_seq=seq))


def batch(nonce: int) -> pb.ControlMessage:
    return pb.ControlMessage(desired_batch=pb.DesiredBatch(nonce=nonce))


def park(idle: int, address: str) -> pb.ControlMessage:
    asked = pb.ParkConnections(idle_connections=idle, relay_address=address)
    return pb.ControlMessage(park_connections=asked)


def log(name: str) -> pb.ControlMessage:
    return pb.ControlMessage(log_request=pb.LogRequest(subscription=name))


def taken(outbox: Outbox) -> list[pb.ControlMessage]:
    messages = []
    while (message := outbox.take()) is not None:
        messages.append(message)
    return messages


def test_messages_are_numbered_when_they_are_taken_and_carry_the_epoch() -> None:
    outbox = Outbox()
    outbox.epoch = 4
    outbox.put(batch(1))
    outbox.put(batch(2))
    assert [(message.seq, message.session_epoch) for message in taken(outbox)] == [(1, 4), (2, 4)]


def test_the_latest_of_a_kind_wins_and_answers_go_before_batches() -> None:
    outbox = Outbox()
    outbox.put(batch(1))
    for seq in range(5000):
        outbox.put(ack(seq))
    first, second = taken(outbox)
    assert first.heartbeat_ack.heartbeat_seq == 4999
    assert second.desired_batch.nonce == 1


def test_each_replica_that_wants_connections_is_heard_with_its_latest_word() -> None:
    outbox = Outbox()
    for number in range(3):
        for address in ("", "b:7445"):
            outbox.put(park(number, address))
    asked = [message.park_connections for message in taken(outbox)]
    assert [(each.relay_address, each.idle_connections) for each in asked] == [("", 2), ("b:7445", 2)]


def test_the_newest_list_of_replicas_is_told() -> None:
    outbox = Outbox()
    for number in range(3):
        outbox.put(pb.ControlMessage(replicas_changed=pb.ReplicasChanged(parked_connections=number)))
    assert [message.replicas_changed.parked_connections for message in taken(outbox)] == [2]


def probe(request: str) -> pb.ControlMessage:
    return pb.ControlMessage(probe_instance=pb.ProbeInstance(request=request))


def test_requests_for_logs_and_probes_are_bounded_each() -> None:
    outbox = Outbox()
    for kind, made in (("log_request", log), ("probe_instance", probe)):
        assert all(outbox.put(made(str(number))) for number in range(MOST[kind]))
        assert not outbox.put(made("more"))
    assert len(taken(outbox)) == sum(MOST.values())


def test_a_finished_outbox_gives_its_last_word_only() -> None:
    outbox = Outbox()
    outbox.put(batch(1))
    outbox.put(ack(1))
    outbox.finish(pb.ControlMessage(refusal=pb.Refusal()))
    assert not outbox.put(ack(2))
    assert [message.WhichOneof("body") for message in taken(outbox)] == ["refusal"]
