from __future__ import annotations

from collections import Counter
from itertools import pairwise

from node_agent.control_link.messages import Replica
from node_agent.control_link.servers import Servers


def servers(*told: str, chance: float = 0.0) -> Servers:
    made = Servers("own:1", lambda: chance)
    made.know([Replica(address) for address in told])
    return made


def test_the_first_start_knows_nothing_but_the_configured_address() -> None:
    alone = servers()
    assert [alone.next() for _ in range(3)] == ["own:1"] * 3
    assert not alone.others_left


def test_after_one_that_served_us_comes_another() -> None:
    known = servers("a:1", "own:1", "b:1")
    known.next()
    known.settled()
    assert known.others_left
    assert known.next() != "a:1"


def test_each_is_tried_once_before_any_is_tried_again() -> None:
    known = servers("a:1", "b:1", "c:1", chance=0.99)
    seen = [known.next() for _ in range(8)]
    assert sorted(seen[:4]) == ["a:1", "b:1", "c:1", "own:1"]
    assert all(one != following for one, following in pairwise(seen))


def test_chance_decides_among_those_that_are_left() -> None:
    four = ("a:1", "b:1", "c:1", "own:1")
    first = Counter(servers(*four, chance=step / 100).next() for step in range(100))
    assert first == dict.fromkeys(four, 25)


def test_the_configured_address_stays_when_the_list_does_not_hold_it() -> None:
    known = servers("a:1", "a:1")
    assert sorted([known.next(), known.next()]) == ["a:1", "own:1"]
    assert not known.others_left


def test_one_that_nothing_is_wrong_with_comes_again() -> None:
    known = servers("a:1", "b:1", "own:1")
    before = known.next()
    known.stay()
    assert known.next() == before
    assert known.next() != before


def test_a_list_that_names_nobody_changes_nothing() -> None:
    known = servers("a:1")
    known.know([])
    assert {known.next(), known.next()} == {"a:1", "own:1"}


def test_one_that_is_no_longer_listed_is_no_longer_tried() -> None:
    known = servers("a:1", "b:1", "own:1")
    known.know([Replica("own:1"), Replica("b:1")])
    assert {known.next() for _ in range(6)} == {"b:1", "own:1"}
