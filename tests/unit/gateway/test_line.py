from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.line import Line
from gateway.refusals import GatewayRefusal, LineFull, ShareFull


@dataclass(eq=False)
class Asking:
    """One request; `log` gets the party of each whose turn has come."""

    party: str
    log: list[str] = field(default_factory=list)
    turned_away: GatewayRefusal | None = None
    admitted: bool = False

    def admit(self) -> None:
        assert not self.admitted
        self.admitted = True
        self.log.append(self.party)

    def turn_away(self, refusal: GatewayRefusal) -> None:
        self.turned_away = refusal


class Stage:
    """A line before an engine of one slot, which takes two at once."""

    def __init__(self, length: int = 4) -> None:
        self.now = 0.0
        self.line = Line("tiny", length, lambda: self.now)
        self.log: list[str] = []

    def ask(self, party: str, slots: int = 1) -> Asking:
        asking = Asking(party, self.log)
        asking.admitted = self.line.enter(asking, slots)
        return asking

    def finish(self, asking: list[Asking]) -> None:
        """Each as its turn has come."""
        while asking:
            done = next(each for each in asking if each.admitted)
            asking.remove(done)
            self.line.leave(done)


def test_what_an_engine_can_answer_does_not_wait_and_the_next_does() -> None:
    stage = Stage()
    first, second, third = (stage.ask("a") for _ in range(3))
    assert (first.admitted, second.admitted, third.admitted) == (True, True, False)
    stage.line.leave(second)
    assert third.admitted


def test_each_party_has_its_turn_however_many_others_ask() -> None:
    stage = Stage(length=20)
    asking = [stage.ask(party) for party in "aaaaaaabbc"]
    stage.finish(asking)
    assert stage.log == ["a", "b", "c", "a", "b", "a", "a", "a"]
    assert stage.line.idle


def test_who_leaves_while_waiting_is_passed_over() -> None:
    stage = Stage()
    running, other = stage.ask("a"), stage.ask("a")
    gone, stays = stage.ask("b"), stage.ask("b")
    stage.line.leave(gone)
    stage.line.leave(running)
    stage.line.leave(other)
    assert (gone.admitted, stays.admitted) == (False, True)


def test_who_fills_the_line_alone_is_told_that_it_is_his_share_and_how_long_it_takes() -> None:
    stage = Stage(length=3)
    running = stage.ask("a")
    for _ in range(4):
        stage.ask("a")
    stage.now = 10.0
    stage.line.leave(running)
    stage.ask("a")
    with pytest.raises(ShareFull) as raised:
        stage.ask("a")
    # Three wait for one slot, and a request took ten seconds.
    assert (raised.value.status, raised.value.retry_after) == (429, 30)
    assert "30 s" in raised.value.text
    assert "tiny" in raised.value.text


def test_one_who_asks_for_less_takes_the_last_place_of_the_one_who_asks_for_most() -> None:
    stage = Stage(length=3)
    many = [stage.ask("a") for _ in range(5)]
    other = stage.ask("b")
    assert [each.turned_away is not None for each in many] == [False] * 4 + [True]
    assert isinstance(many[-1].turned_away, ShareFull)
    assert other.turned_away is None
    stage.line.leave(many[-1])
    for each in (*many[:4], other):
        stage.line.leave(each)
    assert stage.line.idle


def test_where_nobody_has_more_than_others_the_line_is_full() -> None:
    stage = Stage(length=2)
    for party in ("a", "a", "a", "b"):
        stage.ask(party)
    with pytest.raises(LineFull) as raised:
        stage.ask("b")
    assert (raised.value.status, raised.value.retry_after) == (503, 2)


def test_where_nobody_may_wait_who_finds_no_slot_is_refused() -> None:
    stage = Stage(length=0)
    running = [stage.ask("a"), stage.ask("a")]
    with pytest.raises(LineFull):
        stage.ask("a")
    stage.line.leave(running[0])
    assert stage.ask("a").admitted


def test_an_engine_that_gets_more_slots_takes_those_who_wait() -> None:
    stage = Stage()
    asking = [stage.ask("a") for _ in range(4)]
    newest = stage.ask("a", slots=4)
    assert all(each.admitted for each in (*asking, newest))


STEPS = st.lists(st.tuples(st.sampled_from("aaab"), st.booleans(), st.integers(0, 30)), max_size=60)


@settings(deadline=None)
@given(STEPS, st.integers(1, 5))
def test_nobody_is_lost_and_nobody_is_kept_from_his_turn(steps: list[tuple[str, bool, int]], slots: int) -> None:
    stage, inside = Stage(length=6), list[Asking]()
    for party, leaves, which in steps:
        if leaves and inside:
            stage.line.leave(inside.pop(which % len(inside)))
        elif not leaves:
            try:
                inside.append(stage.ask(party, slots))
            except LineFull:
                assert stage.line.waiting == 6
        for away in [each for each in inside if each.turned_away]:
            inside.remove(away)
            stage.line.leave(away)
        admitted = sum(each.admitted for each in inside)
        assert stage.line.waiting == len(inside) - admitted <= 6
        # Nobody waits while there is room.
        assert admitted == slots + max(1, slots // 4) or not stage.line.waiting
    waiting = Counter(each.party for each in inside if not each.admitted)
    stage.log.clear()
    stage.finish(inside)
    assert stage.line.idle
    _takes_turns(stage.log, waiting)


def _takes_turns(log: list[str], waiting: Counter[str]) -> None:
    """While both wait, neither comes twice in a row."""
    left = waiting.copy()
    for before, party in pairwise(log):
        left[before] -= 1
        others = sum(count for each, count in left.items() if each != party)
        assert party != before or others == 0
