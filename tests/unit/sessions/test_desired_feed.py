from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from arw.v1 import problem_pb2
from arw.v1 import session_pb2 as pb
from control_plane.domain.desired import DesiredRow, digest
from control_plane.domain.errors import ProtocolViolation, Unavailable
from control_plane.sessions.desired_feed import DesiredFeed, DesiredPage, Held, Wanted
from control_plane.sessions.rules import SessionRules
from tests.fakes.clock import NOON
from tests.fakes.desired_rows import row

RULES = SessionRules()
H = "history"


def page(revision: int, *rows: DesiredRow, live: tuple[DesiredRow, ...] | None = None, floor: int = 0) -> DesiredPage:
    return DesiredPage(H, revision, floor, rows, live)


def digest_of(*rows: DesiredRow) -> bytes:
    return digest((item.name, item.generation, item.revision) for item in rows)


def acked(feed: DesiredFeed, batch: pb.DesiredBatch, *problems: pb.ResourceProblem) -> bool:
    return feed.acked(pb.DesiredAck(nonce=batch.nonce, desired_digest=batch.digest_after, problems=problems), NOON)


def problem(item: DesiredRow) -> pb.ResourceProblem:
    return pb.ResourceProblem(
        name=item.name, generation=item.generation, problem=problem_pb2.Problem(reason=problem_pb2.REASON_SPEC_INVALID)
    )


def started(*live: DesiredRow, revision: int, rules: SessionRules = RULES) -> DesiredFeed:
    """A cold node that was told everything and acknowledged it."""
    feed = DesiredFeed(rules, Held("", 0, b""), delta=True)
    feed.page(page(revision, *live, live=live))
    while batches := list(feed.take(NOON)):
        for batch in batches:
            acked(feed, batch)
    return feed


def test_a_cold_node_gets_a_snapshot_with_the_digest_of_everything() -> None:
    live = (row("a", 3), row("b", 5))
    feed = DesiredFeed(RULES, Held("", 0, b""), delta=True)
    assert feed.wanted() == Wanted(0, whole=True)
    feed.page(page(7, *live, live=live))
    (batch,) = feed.take(NOON)
    assert (batch.snapshot, batch.last_chunk, batch.to_revision) == (True, True, 7)
    assert [resource.name for resource in batch.resources] == [live[0].name, live[1].name]
    assert batch.digest_after == digest_of(*live)


def test_a_node_that_is_behind_gets_only_what_changed() -> None:
    old, new = row("a", 3), row("b", 5)
    feed = DesiredFeed(RULES, Held(H, 3, digest_of(old)), delta=True)
    feed.page(page(6, new, row("c", 6, gone=True), live=(old, new)))
    (batch,) = feed.take(NOON)
    assert not batch.snapshot
    assert batch.from_revision == 3
    assert [resource.name for resource in batch.resources] == [new.name]
    assert [removal.name for removal in batch.removals] == ["nodes/n1/instances/c"]
    assert batch.digest_after == digest_of(old, new)


def test_a_node_that_is_up_to_date_hears_just_that() -> None:
    live = (row("a", 3),)
    feed = DesiredFeed(RULES, Held(H, 3, digest_of(*live)), delta=True)
    feed.page(page(3, live=live))
    (batch,) = feed.take(NOON)
    assert not batch.snapshot
    assert not batch.resources
    assert batch.last_chunk


@pytest.mark.parametrize(
    ("held", "delta", "floor"),
    [
        (Held(H, 3, b"other"), True, 0),
        (Held("elsewhere", 3, digest_of(row("a", 3))), True, 0),
        (Held(H, 3, digest_of(row("a", 3))), False, 0),
        (Held(H, 3, digest_of(row("a", 3))), True, 4),
    ],
    ids=["wrong digest", "other history", "no deltas", "compacted"],
)
def test_a_snapshot_is_sent_when_a_delta_cannot_be_trusted(held: Held, delta: bool, floor: int) -> None:
    feed = DesiredFeed(RULES, held, delta=delta)
    feed.page(page(5, live=(row("a", 3),), floor=floor))
    (batch,) = feed.take(NOON)
    assert batch.snapshot
    assert len(batch.resources) == 1


def test_a_node_ahead_of_the_store_is_not_served() -> None:
    feed = DesiredFeed(RULES, Held(H, 9, b""), delta=True)
    with pytest.raises(Unavailable, match="up to 7"):
        feed.page(page(7, live=()))


def test_chunks_hold_at_most_so_many_resources_and_only_the_last_says_so() -> None:
    live = tuple(row(f"r{number:04}", number + 1) for number in range(600))
    feed = DesiredFeed(RULES, Held("", 0, b""), delta=True)
    feed.page(page(600, *live, live=live))
    first, second = feed.take(NOON)
    assert not list(feed.take(NOON))
    acked(feed, first)
    (third,) = feed.take(NOON)
    assert [len(batch.resources) for batch in (first, second, third)] == [256, 256, 88]
    assert [batch.last_chunk for batch in (first, second, third)] == [False, False, True]
    assert [bool(batch.digest_after) for batch in (first, second, third)] == [False, False, True]


def test_chunks_stay_below_the_size_that_a_message_may_have() -> None:
    live = tuple(row(f"r{number}", number + 1, text="x" * 100_000) for number in range(12))
    feed = DesiredFeed(replace(RULES, max_unacked_batches=99), Held("", 0, b""), delta=True)
    feed.page(page(12, *live, live=live))
    batches = list(feed.take(NOON))
    assert sum(len(batch.resources) for batch in batches) == 12
    assert all(batch.ByteSize() <= 512 * 1024 + 1000 for batch in batches)


def test_changes_while_two_batches_wait_are_sent_once_in_their_last_form() -> None:
    feed = started(row("a", 1), revision=1)
    for revision in (2, 3):
        feed.page(page(revision, row("a", revision, revision)))
        assert len(list(feed.take(NOON))) == 1
    feed.page(page(4, row("a", 4, 4)))
    feed.page(page(6, row("a", 5, gone=True), row("b", 6)))
    assert not list(feed.take(NOON))
    assert acked(feed, pb.DesiredBatch(nonce=2)) is False
    (batch,) = feed.take(NOON)
    assert [resource.name for resource in batch.resources] == ["nodes/n1/instances/b"]
    assert [removal.revision for removal in batch.removals] == [5]
    assert batch.from_revision == 3


def test_history_that_was_compacted_beneath_a_stream_is_read_anew() -> None:
    feed = started(row("a", 1), row("b", 1), revision=1)
    feed.page(page(9, floor=5))
    assert feed.wanted().whole
    feed.page(page(9, live=(row("b", 8, 2),), floor=5))
    (batch,) = feed.take(NOON)
    assert batch.snapshot
    assert [resource.generation for resource in batch.resources] == [2]


def test_an_answer_to_a_batch_that_was_never_sent_is_a_violation() -> None:
    feed = started(row("a", 1), revision=1)
    with pytest.raises(ProtocolViolation):
        feed.acked(pb.DesiredAck(nonce=99), NOON)


def test_a_repeated_answer_is_no_violation() -> None:
    feed = started(row("a", 1), revision=1)
    assert feed.acked(pb.DesiredAck(nonce=1), NOON)


def test_another_digest_is_noticed_unless_the_node_refused_something() -> None:
    feed = started(row("a", 1), revision=1)
    feed.page(page(2, row("b", 2)))
    (batch,) = feed.take(NOON)
    assert feed.acked(pb.DesiredAck(nonce=batch.nonce, desired_digest=b"other"), NOON) is False
    feed.page(page(3, row("b", 3, 2)))
    (batch,) = feed.take(NOON)
    refusing = pb.DesiredAck(nonce=batch.nonce, desired_digest=b"other", problems=[problem(row("b", 3, 2))])
    assert feed.acked(refusing, NOON) is True


def test_a_set_of_nothing_but_refused_resources_waits_but_others_go_at_once() -> None:
    feed = started(row("a", 1), revision=1)
    feed.page(page(2, row("b", 2)))
    (batch,) = feed.take(NOON)
    acked(feed, batch, problem(row("b", 2)))

    feed.page(page(3, row("b", 3, 2)))
    assert not list(feed.take(NOON + timedelta(seconds=5)))
    assert len(list(feed.take(NOON + timedelta(seconds=10)))) == 1

    feed.page(page(4, row("b", 4, 3), row("c", 4)))
    (mixed,) = feed.take(NOON + timedelta(seconds=5))
    assert len(mixed.resources) == 2


def test_a_bookmark_moves_a_quiet_node_forward() -> None:
    feed = started(row("a", 1), revision=1)
    assert not feed.bookmark_due(NOON + timedelta(seconds=59))
    assert feed.bookmark_due(NOON + timedelta(seconds=60))
    feed.announce()
    feed.page(page(40))
    (batch,) = feed.take(NOON)
    assert (batch.from_revision, batch.to_revision, len(batch.resources)) == (1, 40, 0)


def test_a_batch_without_an_answer_is_overdue_after_thirty_seconds() -> None:
    feed = DesiredFeed(RULES, Held("", 0, b""), delta=True)
    feed.page(page(1, live=()))
    list(feed.take(NOON))
    assert not feed.overdue(NOON + timedelta(seconds=29))
    assert feed.overdue(NOON + timedelta(seconds=30))
