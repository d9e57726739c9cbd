from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.data_path.choice import Beginnings, Candidate, choose

IDLE = Candidate(slots=4)
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        in_hand=st.integers(0, 9),
        slots=st.sampled_from((0, 1, 4)),
        degraded=st.booleans(),
        speed=st.none() | st.floats(1, 100),
        knows=st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


def test_equals_take_turns() -> None:
    assert [choose([IDLE] * 3, turn) for turn in range(4)] == [0, 1, 2, 0]


def test_a_free_slot_counts_before_health_and_health_before_waiting() -> None:
    full, ill = replace(IDLE, in_hand=4), replace(IDLE, degraded=True)
    assert choose([full, ill], 0) == 1
    assert choose([ill, replace(IDLE, in_hand=3)], 0) == 1


def test_the_one_with_less_in_hand_goes_first_and_a_slow_one_when_the_fast_are_busy() -> None:
    slow, fast = replace(IDLE, speed=10.0), replace(IDLE, speed=20.0)
    assert choose([replace(IDLE, in_hand=2), replace(IDLE, in_hand=1)], 0) == 1
    assert choose([slow, replace(fast, in_hand=3)], 0) == 1
    assert choose([slow, replace(fast, in_hand=4)], 0) == 0
    # Such a difference is noise.
    assert choose([replace(IDLE, speed=18.0), fast], 0) == 0


def test_what_was_read_already_goes_to_its_reader_unless_that_is_busier_by_more_than_one() -> None:
    reader = replace(IDLE, knows=True)
    for turn in range(3):
        assert choose([IDLE, IDLE, replace(reader, in_hand=1)], turn) == 2
        assert choose([IDLE, IDLE, replace(reader, in_hand=2)], turn) != 2
    assert choose([IDLE, replace(reader, degraded=True)], 1) == 0
    assert choose([replace(IDLE, slots=1), replace(reader, slots=1, in_hand=1)], 1) == 0


@settings(deadline=None)
@given(CANDIDATES, st.integers(0, 50))
def test_whoever_is_chosen_nobody_waits_where_a_slot_is_free(candidates: list[Candidate], turn: int) -> None:
    chosen = candidates[choose(candidates, turn)]
    assert chosen.has_room or not any(each.has_room for each in candidates)
    fit = [each for each in candidates if each.has_room == chosen.has_room]
    assert not chosen.degraded or all(each.degraded for each in fit)
    alike = [each for each in fit if _kind(each) == _kind(chosen)]
    least = min(each.in_hand for each in alike)
    assert chosen.in_hand <= least + chosen.knows


def _kind(each: Candidate) -> tuple[int, bool, float | None]:
    return each.slots, each.degraded, each.speed


def test_the_longest_beginning_that_is_the_same_counts() -> None:
    beginnings, system = Beginnings(), b"s" * 600
    beginnings.went("team", system + b"a" * 4000, "one")
    beginnings.went("team", system + b"b" * 4000, "two")
    assert beginnings.known_by("team", system + b"a" * 9000) == "one"
    assert beginnings.known_by("team", system + b"b" * 9000) == "two"
    assert beginnings.known_by("team", system + b"c" * 9000) == "two"
    assert beginnings.known_by("team", b"x" * 9000) == ""
    assert beginnings.known_by("team", b"s" * 100) == ""
    assert beginnings.known_by("other", system + b"a" * 9000) == ""


def test_the_oldest_beginnings_are_forgotten() -> None:
    beginnings = Beginnings(most=2)
    for letter in (b"a", b"b", b"c"):
        beginnings.went("", letter * 600, letter.decode())
    assert [beginnings.known_by("", letter * 600) for letter in (b"a", b"b", b"c")] == ["", "b", "c"]
