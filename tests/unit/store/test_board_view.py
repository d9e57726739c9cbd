"""What a replica makes of the rows that it reads; every time is the database's."""

from __future__ import annotations

from datetime import timedelta

import pytest

from control_plane.domain.ids import ReplicaId
from control_plane.domain.replica import Place, Replica
from control_plane.store.board_view import Limits, Posted, Seen, View
from control_plane.use_cases.board import Note
from tests.fakes.store_rows import NOON

ME, B = ReplicaId("a"), ReplicaId("b")
LIMITS = Limits(lost=timedelta(seconds=3), silent=timedelta(seconds=10))


def seen(name: ReplicaId, age_s: float = 0.0, *, registration: int = 1, holds_lock: bool = True) -> Seen:
    return Seen(name, registration, Place(), NOON, age_s, holds_lock)


def posted(key: str, seq: int, content: bytes | None = b"") -> Posted:
    return Posted(B, "kind", key, seq, content)


def gone(key: str) -> Note:
    return Note(B, "kind", key, None)


class Beats:
    """A view that is asked and told as a beat does."""

    def __init__(self) -> None:
        self.view = View(ME, LIMITS)

    def beat(self, now: float, *rows: Seen, notes: tuple[Posted, ...] = (), anew: bool = False) -> list[Note]:
        living = self.view.living(rows, now, anew=anew)
        return self.view.take(rows, living, notes, now, anew=anew)

    def living(self, now: float, *rows: Seen, anew: bool = False) -> list[ReplicaId]:
        return [one.id for one in self.view.living(rows, now, anew=anew)]

    def last(self, *, anew: bool = False) -> int:
        return self.view.lasts([Replica(B, Place(), NOON)], anew=anew)[B]


@pytest.fixture
def beats() -> Beats:
    return Beats()


@pytest.mark.parametrize(
    ("age_s", "holds_lock", "lives"),
    [
        (0, False, True),
        (3, False, True),
        (3.1, False, False),
        (3.1, True, True),
        (10, True, True),
        (10.1, True, False),
        (-3600, False, False),
        (-3600, True, False),
        (-0.1, False, True),
    ],
)
def test_a_replica_lives_while_it_is_seen_or_its_session_lasts(age_s: float, holds_lock: bool, lives: bool) -> None:
    assert seen(B, age_s, holds_lock=holds_lock).lives(LIMITS) is lives


def test_who_reads_lives_whatever_its_row_says(beats: Beats) -> None:
    assert beats.living(0, seen(ME, 99, holds_lock=False), seen(B, 99)) == [ME]


def test_notes_are_read_from_the_last_one_on_and_of_a_newcomer_all(beats: Beats) -> None:
    assert beats.last() == 0
    told = beats.beat(0, seen(ME), seen(B), notes=(posted("x", 4), posted("y", 7, None)))
    assert told == [Note(B, "kind", "x", b"")]
    assert beats.last() == 7
    assert beats.beat(1, seen(ME), seen(B), notes=(posted("x", 8, None),)) == [gone("x")]
    assert beats.last(anew=True) == 0


def test_of_one_that_died_and_came_back_all_is_read_again(beats: Beats) -> None:
    beats.beat(0, seen(ME), seen(B), notes=(posted("x", 4),))
    beats.beat(20, seen(ME), seen(B, 20))
    assert beats.last() == 0


def test_a_replica_that_was_swept_hears_what_it_missed(beats: Beats) -> None:
    beats.beat(0, seen(ME), seen(B), notes=(posted("x", 1), posted("y", 2)))
    assert beats.beat(200, seen(ME), seen(B), notes=(posted("y", 2),), anew=True) == [
        Note(B, "kind", "y", b""),
        gone("x"),
    ]
    assert beats.beat(201, seen(ME), seen(B)) == []


def test_after_the_board_was_emptied_others_get_time_to_come_back(beats: Beats) -> None:
    beats.beat(0, seen(ME), seen(B), notes=(posted("x", 1),))
    assert beats.living(9, seen(ME, registration=2), anew=True) == [ME, B]
    beats.beat(9, seen(ME, registration=2), anew=True)
    assert beats.living(12, seen(ME)) == [ME, B]
    assert beats.living(12.1, seen(ME)) == [ME]
    assert beats.beat(10, seen(ME), seen(B, registration=2)) == []
    assert beats.last() == 1


def test_one_that_leaves_gets_no_such_time(beats: Beats) -> None:
    beats.beat(0, seen(ME), seen(B))
    assert beats.living(1, seen(ME)) == [ME]


def test_what_one_that_came_back_does_not_tell_again_in_time_is_gone(beats: Beats) -> None:
    beats.beat(0, seen(ME), seen(B), notes=(posted("x", 1), posted("y", 2)))
    assert beats.beat(5, seen(ME), seen(B, registration=2), notes=(posted("x", 3),)) == [Note(B, "kind", "x", b"")]
    assert beats.beat(14.9, seen(ME), seen(B, registration=2)) == []
    assert beats.beat(15, seen(ME), seen(B, registration=2)) == [gone("y")]
    assert beats.beat(16, seen(ME), seen(B, registration=2)) == []
