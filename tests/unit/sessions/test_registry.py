from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from control_plane.domain.errors import NodeQuarantined, SessionSuperseded
from control_plane.domain.ids import NodeId
from control_plane.sessions.registry import FlapRules, Registry
from tests.fakes.clock import NOON
from wire.refusal import Refusal

N1 = NodeId("n1")


@dataclass(eq=False)
class FakeStream:
    node: NodeId
    epoch: int
    process_id: str = "p"
    ended: list[Refusal] = field(default_factory=list)

    def end(self, refusal: Refusal) -> None:
        self.ended.append(refusal)


@pytest.fixture
def registry() -> Registry[FakeStream]:
    return Registry(FlapRules())


def seated(
    registry: Registry[FakeStream], epoch: int, process: str = "p", seconds: float = 0
) -> tuple[FakeStream, bool]:
    stream = FakeStream(N1, epoch, process)
    registry.opened(stream)
    return stream, registry.seat(stream, NOON + timedelta(seconds=seconds))


def test_the_newest_epoch_has_the_seat(registry: Registry[FakeStream]) -> None:
    old, _ = seated(registry, 1)
    new, _ = seated(registry, 2)
    assert registry.at(N1) is new
    assert [type(refusal) for refusal in old.ended] == [SessionSuperseded]
    assert not registry.is_seated(old)


def test_a_stream_that_was_overtaken_gets_no_seat(registry: Registry[FakeStream]) -> None:
    new, _ = seated(registry, 2)
    with pytest.raises(SessionSuperseded):
        seated(registry, 1)
    assert registry.at(N1) is new
    assert not new.ended


def test_a_stream_that_ends_late_does_not_take_the_seat_with_it(registry: Registry[FakeStream]) -> None:
    old, _ = seated(registry, 1)
    new, _ = seated(registry, 2)
    registry.closed(old)
    assert registry.at(N1) is new
    registry.closed(new)
    assert registry.at(N1) is None
    assert len(registry) == 0


def test_three_takeovers_by_other_processes_within_a_minute_are_a_flap(registry: Registry[FakeStream]) -> None:
    flaps = [seated(registry, epoch, process="ab"[epoch % 2], seconds=epoch)[1] for epoch in range(1, 5)]
    assert flaps == [False, False, False, True]


def test_slow_takeovers_are_restarts_and_no_flap(registry: Registry[FakeStream]) -> None:
    flaps = [seated(registry, epoch, process=f"p{epoch}", seconds=epoch * 40)[1] for epoch in range(1, 9)]
    assert not any(flaps)


def test_one_process_that_reconnects_is_no_flap(registry: Registry[FakeStream]) -> None:
    assert not any(seated(registry, epoch)[1] for epoch in range(1, 9))


def test_a_session_at_another_replica_ends_the_older_stream_here(registry: Registry[FakeStream]) -> None:
    here, _ = seated(registry, 1)
    registry.oust(N1, 1)
    assert not here.ended
    registry.oust(N1, 2)
    assert [type(refusal) for refusal in here.ended] == [SessionSuperseded]
    assert registry.at(N1) is None


def test_a_stream_that_another_replica_overtook_on_its_way_gets_no_seat(registry: Registry[FakeStream]) -> None:
    registry.oust(N1, 3)
    with pytest.raises(SessionSuperseded):
        seated(registry, 2)
    assert seated(registry, 4)[0] is registry.at(N1)


def test_takeovers_by_processes_at_another_replica_are_flaps_too(registry: Registry[FakeStream]) -> None:
    flaps = []
    for number in range(3):
        seated(registry, 2 * number + 1, "here", number)
        # Its own row told it first, and which process it was came after, twice.
        registry.oust(N1, 2 * number + 2)
        at = NOON + timedelta(seconds=number)
        flaps += [registry.overtaken(N1, 2 * number + 2, "there", at) for _ in range(2)]
    assert flaps == [False, False, False, False, True, False]


def test_one_process_that_moves_to_another_replica_is_no_flap(registry: Registry[FakeStream]) -> None:
    for number in range(9):
        seated(registry, 2 * number + 1, "p", number)
        assert not registry.overtaken(N1, 2 * number + 2, "p", NOON + timedelta(seconds=number))


def test_a_restart_at_another_replica_is_no_flap(registry: Registry[FakeStream]) -> None:
    for number in range(9):
        stream, _ = seated(registry, 2 * number + 1, f"p{number}", number)
        registry.closed(stream)
        assert not registry.overtaken(N1, 2 * number + 2, f"q{number}", NOON + timedelta(seconds=number))


def test_a_takeover_here_counts_though_its_row_was_read_before_it_was_seated(registry: Registry[FakeStream]) -> None:
    flaps = []
    for epoch in range(1, 5):
        registry.oust(N1, epoch)
        flaps.append(seated(registry, epoch, "ab"[epoch % 2], epoch)[1])
    assert flaps == [False, False, False, True]


def test_a_cut_ends_every_stream_of_the_node_and_no_other(registry: Registry[FakeStream]) -> None:
    one, _ = seated(registry, 1)
    waiting, other = FakeStream(N1, 0), FakeStream(NodeId("n2"), 1)
    registry.opened(waiting)
    registry.opened(other)
    registry.cut(N1, NodeQuarantined("Quarantined."))
    assert len(one.ended) == len(waiting.ended) == 1
    assert not other.ended
