"""A cut from the control plane that a claim gave an end: what is stopped, when, and what an agent remembers of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from node_agent.disk.contact import Contact
from node_agent.domain.cut import bounds, next_stop, outlived
from node_agent.domain.observed import Observed, Phase, launch_key
from node_agent.domain.plan import plan
from node_agent.domain.spec import DesiredState, Hold, InstanceSpec
from node_agent.domain.step import Cause, Deny, Reclaim, Start
from tests.fakes.instance_specs import NAME, spec

NOW = datetime(2026, 11, 22, tzinfo=UTC)
MINUTE = timedelta(seconds=60)
SYSTEM = Hold("system", 1)


def held(*seconds: int, **changes: object) -> InstanceSpec:
    holds = {Hold(f"c{number}", number + 2, timedelta(seconds=given)) for number, given in enumerate(seconds)}
    return spec(holds=frozenset({SYSTEM, *holds}), **changes)


def up(wanted: InstanceSpec) -> Observed:
    return Observed(NAME, Phase.UP, launch_key(wanted))


def test_a_cut_of_any_length_ends_nothing_that_no_claim_gave_an_end() -> None:
    assert outlived([spec()], timedelta.max, NOW) == {}
    assert next_stop([spec()], timedelta.max) is None


def test_of_several_holds_the_shortest_counts_and_only_while_there_is_no_contact() -> None:
    wanted = held(90, 60)
    assert next_stop([wanted], MINUTE / 2) == MINUTE / 2
    assert outlived([wanted], MINUTE - timedelta(seconds=1), NOW) == {}
    assert outlived([wanted], MINUTE, NOW).keys() == {NAME}
    assert outlived([wanted], None, NOW) == {}


def test_who_does_not_know_since_when_it_was_cut_off_takes_it_for_long_ago() -> None:
    assert outlived([held(60)], timedelta.max, NOW).keys() == {NAME}


def test_what_is_not_to_run_anyway_is_left_alone() -> None:
    assert list(bounds([held(60, desired_state=DesiredState.STOPPED)])) == []


def test_what_outlived_its_time_is_stopped_kept_from_starting_and_starts_again_after_contact() -> None:
    wanted = held(60)
    denied = outlived([wanted], MINUTE, NOW)
    problem = denied[NAME].problem
    assert plan([wanted], [up(wanted)], NOW, denied) == [Reclaim(NAME, problem)]
    assert plan([wanted], [Observed(NAME)], NOW, denied) == [Deny(NAME, problem)]
    kept_out = Observed(NAME, Phase.DENIED, denied=problem)
    assert plan([wanted], [kept_out], NOW, denied) == []
    assert plan([wanted], [kept_out], NOW) == [Start(wanted, Cause.DESIRED)]
    assert problem.text == "A claim on it lets it run for 60 s without contact with the control plane."


def test_a_hold_is_known_by_claim_and_fence_whatever_else_it_says() -> None:
    wanted = Hold("c", 2, MINUTE)
    assert (Hold("c", 2), hash(Hold("c", 2))) == (wanted, hash(wanted))


class Node:
    """The clock and the disk of a machine; each agent on it remembers for itself."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "contact.json"
        self.time = 1000.0
        self.minds = True
        self.turns = 0

    def agent(self, boot_id: str = "one") -> Contact:
        made = Contact(self.path, boot_id, lambda: self.time, lambda: self.minds)
        made.on_change(self._turned)
        return made

    def _turned(self) -> None:
        self.turns += 1


def test_silence_counts_from_what_came_last_and_not_from_when_the_link_noticed(tmp_path: Path) -> None:
    node = Node(tmp_path)
    contact = node.agent()
    assert contact.silence() == timedelta.max
    contact.heard(node.time)
    assert contact.silence() is None
    node.time += 15
    contact.lost()
    assert contact.silence() == timedelta(seconds=15)
    contact.heard(node.time)
    assert (contact.silence(), node.turns) == (None, 3)


def test_an_agent_that_starts_in_the_middle_of_a_cut_counts_from_the_last_contact_of_the_one_before(
    tmp_path: Path,
) -> None:
    node = Node(tmp_path)
    first = node.agent()
    first.heard(node.time)
    first.lost()
    node.time += 40
    assert node.agent().silence() == timedelta(seconds=40)
    assert node.agent("two").silence() == timedelta.max, "after a boot nobody knows how long it was"


def test_an_agent_killed_while_it_was_connected_left_a_note_that_is_seconds_old(tmp_path: Path) -> None:
    node = Node(tmp_path)
    contact = node.agent()
    for _ in range(4):
        contact.heard(node.time)
        node.time += 2
    node.time += 10
    assert node.agent().silence() == timedelta(seconds=12)


def test_nothing_is_written_while_nobody_minds(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.minds = False
    contact = node.agent()
    contact.heard(node.time)
    contact.lost()
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_cannot_be_read_or_written_stops_nobody(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.path.write_text("no note")
    assert node.agent().silence() == timedelta.max
    node.path = tmp_path / "gone" / "contact.json"
    contact = node.agent()
    contact.heard(node.time)
    assert contact.silence() is None
